// How clients/js follows events by WebSockets that break: node js_sockets.mjs TEST. Prints JSON.
import { Calls, CallsError } from "../../clients/js/calls.js"

const event = (seq) => ({ type: "call.phase", seq })
const gone = { type: "error", code: "events-gone", oldest: 15, newest: 20 }
// What each next WebSocket does: whether it opens, what it says, by which code it closes; null: never.
const scripts = {
  breaks: [
    [true, [event(8), event(8), { type: "heartbeat", newest: 10 }], 1001],
    [true, [], 4003],
    [true, [gone], 4010],
    [false, [], 1006],
  ],
  silent: [
    [true, [event(8), { type: "heartbeat", newest: 10 }], null],
    [true, [event(21)], null],
  ],
  aborted: [
    [false, [], null],
    [true, [event(21)], null],
  ],
  refused: [[true, [{ type: "error", code: "invalid-client-id", status: 401 }], 4002]],
}
const script = scripts[process.argv[2]]
const opened = []
const tickets = []
const polled = []
let closed = 0

globalThis.WebSocket = class {
  constructor(url) {
    opened.push(url.href)
    const next = script.shift()
    if (!next) throw new Error("one WebSocket too many")
    const [opens, said, code] = next
    setTimeout(() => {
      if (opens) this.onopen()
      for (const message of said) this.onmessage({ data: JSON.stringify(message) })
      if (code) this.onclose({ code })
    })
  }
  close() {
    closed++
  }
}
const slowly = globalThis.setTimeout
// Three heartbeats' silence, and the pause that follows it, are over soon.
globalThis.setTimeout = (act, ms, ...what) => slowly(act, ms === 45_000 ? 20 : ms === 1000 ? 1 : ms, ...what)
globalThis.fetch = async (url, { body }) => {
  if (body) tickets.push(JSON.parse(body))
  else polled.push(new URL(url).search)
  const told = body ? { ticket: `t${tickets.length}` } : { events: [event(21)], next: 21 }
  return new Response(JSON.stringify(told), { status: 200 })
}

const calls = new Calls({ url: "http://calls.example.test", secret: "a secret of a server" })
const told = []
if (process.argv[2] === "aborted") {
  const stop = new AbortController()
  slowly(() => stop.abort(), 5)
  for await (const { type, seq } of calls.follow({ after: 6, signal: stop.signal })) told.push([type, seq])
}
let error = null
try {
  for await (const { type, seq } of calls.follow({ after: 7, scope: "all" })) {
    told.push([type, seq])
    if (seq === 21) break
  }
} catch (failure) {
  if (!(failure instanceof CallsError)) throw failure
  error = [failure.status, failure.code]
}
console.log(JSON.stringify({ told, opened, tickets, polled, error, closed, left: script.length }))
