// Places a call, follows it and lists everything: node client.js URL SECRET FROM TO. Prints JSON.
import createClient from "openapi-fetch"
import type { components, paths } from "./api.js"

type CallState = components["schemas"]["CallState"]
type Problem = components["schemas"]["Problem"]

declare const process: { argv: [string, string, string, string, string, string] }
const [, , baseUrl, secret, from, to] = process.argv

const clientOf = (bearer: string) =>
  createClient<paths, `application/${string}json`>({ baseUrl, headers: { Authorization: `Bearer ${bearer}` } })
const api = clientOf(secret)

/** The answer; a failure is the API's own, by its code. */
function told<T>({ data, error }: { data?: T | undefined; error?: Problem | undefined }): T {
  if (error) throw new Error(`${error.code}: ${error.detail}, dialled: ${error.dialled ?? "-"}`)
  return data as T
}

async function follow(call_id: string): Promise<CallState[]> {
  const seen: CallState[] = []
  for (;;) {
    const last = seen.at(-1)
    const query = last ? { wait: 25, phase: last.phase as "accepted" } : {}
    const call = told(await api.GET("/api/calls/{call_id}", { params: { path: { call_id }, query } }))
    if (call.phase !== last?.phase) seen.push(call)
    if (call.phase === "ended") return seen
  }
}

async function listCalls(): Promise<string[]> {
  const ids: string[] = []
  const query: { limit: number; cursor?: string } = { limit: 1 }
  for (;;) {
    const page = told(await api.GET("/api/calls", { params: { query } }))
    for (const call of page.calls) if ("call_id" in call) ids.push(call.call_id)
    if (!("next" in page) || !page.next) return ids
    query.cursor = page.next
  }
}

async function listEvents(): Promise<string[]> {
  const phases: string[] = []
  for (let after = 0; ; ) {
    const page = told(await api.GET("/api/events", { params: { query: { after, limit: 2 } } }))
    if (!page.events.length) return phases
    for (const event of page.events) if ("call" in event) phases.push((event.call as CallState).phase)
    after = page.next
  }
}

const placed = told(await api.POST("/api/calls", { body: { from, to } }))
const again = told(await api.POST("/api/calls", { body: { from, to } }))
const calls = await follow(placed.call_id)
const other = told(await api.POST("/api/calls", { body: { from: "155", to } }))
await follow(other.call_id)
const refused = (await clientOf("nobody").POST("/api/calls", { body: { from, to } })).error
console.log(
  JSON.stringify({
    placed: [placed.success, placed.repeated, again.repeated, again.call_id === placed.call_id],
    phases: calls.map((call) => call.phase),
    ended: [calls.at(-1)?.reason, calls.at(-1)?.customer.answered_by],
    listed: (await listCalls()).map((id) => [placed.call_id, other.call_id].indexOf(id)),
    told: (await listEvents()).filter((phase) => phase === "ended").length,
    history: told(await api.GET("/api/history")).calls.length,
    extension: told(await api.GET("/api/extensions/{extension}", { params: { path: { extension: from } } })).extension,
    refused: [refused?.code, refused?.dialled],
  }),
)
