// What a server in JavaScript does with clients/js: node js_client.mjs TEST URL SECRET. Prints JSON.
import { getEventListeners } from "node:events"
import { createServer } from "node:http"
import { Calls, CallsError, VERSION, callButton } from "../../clients/js/calls.js"

const [test, url, secret] = process.argv.slice(2)
const AGENT = "154"
const [TALKS, BUSY, NO_ANSWER] = ["1", "2", "3"].map((digit) => `+37529000000${digit}`)

// What happens to the next requests: "lost" is answered by the service, which nobody hears.
const next = []
const asked = []
const real = globalThis.fetch
globalThis.fetch = async (to, options) => {
  asked.push(options.headers["Idempotency-Key"] ?? null)
  const told = next.shift()
  if (told instanceof Response) return told
  const answer = await real(to, options)
  if (told !== "lost") return answer
  await answer.text()
  throw new TypeError("lost")
}
const instead = (status, body) => new Response(JSON.stringify(body), { status })
const tooMany = () => instead(429, { message: "Too Many Requests" })
const failure = async (asking) => {
  try {
    return await asking()
  } catch (error) {
    if (!(error instanceof CallsError)) throw error
    const { status, code, dialled, requestId, callId } = error
    return { status, code, dialled, requestId, callId }
  }
}

const api = new Calls({ url, secret })
const tests = {
  async call() {
    const placed = await api.createCall(AGENT, TALKS, { actor: "Юля" })
    const watched = []
    for await (const call of api.watch(placed.call_id)) watched.push(call.phase)
    await api.createCall("150", BUSY)
    await api.createCall("150", NO_ANSWER)
    const listed = []
    for await (const call of api.listCalls({ limit: 1 })) listed.push(call.to)
    const followed = []
    for await (const { call } of api.follow({ after: 0, call_id: placed.call_id })) {
      followed.push(call.phase)
      if (call.phase === "ended") break
    }
    return { version: VERSION, placed, watched, listed, followed }
  },
  async lost() {
    next.push("lost", new Response("<html>", { status: 502 }), tooMany())
    const { repeated } = await api.createCall("150", TALKS)
    return { repeated, asked }
  },
  async unknown() {
    const told = { code: "outcome-unknown", dialled: "unknown", request_id: "r", call_id: "c" }
    next.push(instead(500, told))
    const placing = await failure(() => api.createCall("150", TALKS))
    next.push("lost")
    const transfer = await failure(() => api.transferCall("7f1c0f6e-3f0b-4a44-9d53-0a6f6d0a8d11", "151"))
    return { placing, transfer, asked: asked.length }
  },
  async gateway() {
    const failures = []
    for (const told of [instead(503, { code: 503 }), instead(502, "Bad Gateway")]) {
      next.push(told)
      failures.push(await failure(() => api.transferCall("7f1c0f6e-3f0b-4a44-9d53-0a6f6d0a8d11", "151")))
    }
    const transfers = asked.length
    let to = null
    const before = globalThis.fetch
    globalThis.fetch = async (url, options) => ((to = new URL(url).pathname), before(url, options))
    next.push(instead(200, {}))
    await api.hangUpCall("../webhooks/1")
    return { failures, asked: transfers, to }
  },
  async redirect() {
    const methods = []
    const server = createServer(({ method }, answer) => {
      methods.push(method)
      answer.writeHead(method === "GET" ? 200 : 302, { Location: "/api/calls" }).end('{"calls":[],"next":null}')
    })
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve))
    const gateway = new Calls({ url: `http://127.0.0.1:${server.address().port}` })
    const refused = await failure(() => gateway.createCall("150", TALKS))
    server.close()
    return { refused, methods }
  },
  async watch() {
    const { call_id } = await api.createCall(AGENT, TALKS)
    const slowly = globalThis.setTimeout
    const pauses = [2000, 4000, 8000, 16_000] // 1000 is how often fetch looks at its own
    globalThis.setTimeout = (act, ms, ...what) => slowly(act, pauses.includes(ms) ? 1 : ms, ...what)
    next.push(...Array(4).fill("lost"), new Response("later", { status: 503 }))
    const phases = []
    for await (const { phase } of api.watch(call_id)) phases.push(phase)
    return { phases, left: next.length }
  },
  async feed() {
    const { call_id } = await api.createCall("150", BUSY)
    for await (const call of api.watch(call_id)) if (call.phase === "ended") break
    const numbers = []
    next.push("lost", tooMany(), new Response("later", { status: 503 }))
    const { signal } = new AbortController()
    for await (const { seq, call } of api.follow({ after: 0, signal })) {
      numbers.push(seq)
      if (call.phase === "ended") break
    }
    for await (const ahead of api.follow({ after: 99 })) {
      return { numbers, ahead, left: next.length, listeners: getEventListeners(signal, "abort").length }
    }
  },
  async button() {
    const element = Object.assign(new EventTarget(), { dataset: {}, disabled: false })
    const phases = []
    const ended = new Promise((resolve) => {
      const onPhase = (call) => phases.push(call.phase) && call.phase === "ended" && resolve()
      callButton(element, { calls: api, from: "150", to: () => BUSY, onPhase, onError: resolve })
    })
    for (let clicks = 0; clicks < 3; clicks++) element.dispatchEvent(new Event("click"))
    await ended
    return { phases, dataset: element.dataset }
  },
}
console.log(JSON.stringify(await tests[test]()))
