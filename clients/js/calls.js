/**
 * A client of the Asterisk Call Management API in one file: no build, for browsers and Node 18+.
 *
 *   import { Calls, callButton } from "./calls.js"
 *   const calls = new Calls({ url: "/my/calls-api" })         // a page: its own server adds the secret
 *   callButton(document.querySelector("#call"), { calls, from: "150", to: "+375291234567" })
 *   for await (const event of calls.follow({ scope: "all" })) console.log(event.type)
 *
 * `secret` is for servers: whoever can read a page has what stands in it. A page asks by way of its own
 * server, which knows who is logged in there, and listens with tickets that this server gets for it.
 */

export const VERSION = "1.0.0" // of the API that this was made for

const crypto = globalThis.crypto ?? (await import("node:crypto")).webcrypto // of Node.js 18
const WAIT_S = 25
const TIMEOUT_MS = 30_000 // an answer takes 27 s at most
const RETRIES = 3
const LONGEST_PAUSE_S = 30 // whoever is to wait for longer is told so instead
const SILENCE_MS = 45_000 // three heartbeats of a WebSocket
const STATUS_OF = { 4002: 401, 4004: 422, 4010: 410 } // by which code a WebSocket closes; all others may pass by themselves

/**
 * A request failed. `code` says how, null where it was not the API that answered. `dialled` is "no" where
 * certainly nothing rings, "unknown" where something may, null where it is not about ringing. `requestId`
 * finds it in the service's log; `callId`, if there is one, tells what became of the call.
 */
export class CallsError extends Error {
  constructor(status, told, retryAfter) {
    const code = told.code ?? null
    const detail = told.detail ?? told.message ?? `HTTP ${status}`
    super(`${code ?? status}: ${detail}`)
    this.name = "CallsError"
    Object.assign(this, { status, code, detail, told })
    this.dialled = told.dialled ?? null
    this.requestId = told.request_id ?? null
    this.callId = told.call_id ?? null
    this.retryAfterS = /^\d+$/.test(retryAfter ?? "") ? Math.min(Number(retryAfter), 3600) : null
  }

  /** Whether a later request may be answered. */
  get mayPass() {
    return this.status === 0 || this.status === 429 || this.status >= 500
  }
}

export class Calls {
  #options
  #pollUntil = 0

  /**
   * `url`: where the API is, or what of one's own server passes requests on to it. `secret`: on a server.
   * `ticket`: async (filters) => ticket, by default asked for by `POST /api/events/ticket` there.
   * `socket`: where WebSockets go, by default `url`; null: never, long polls only.
   */
  constructor({ url = "", secret = null, ticket = null, socket = url, headers = {} } = {}) {
    const authorization = secret ? { Authorization: `Bearer ${secret}` } : {}
    this.#options = { url, ticket, socket, headers: { ...headers, ...authorization } }
  }

  /** Ring extension `from`; once it answers, call `to`. `key` is the click's own name, `actor` whose it is. */
  createCall(from, to, { key = newKey(), actor, signal } = {}) {
    return this.request("POST", "/api/calls", { body: { from, to }, key, actor, rings: true, signal })
  }

  /** Let `monitorFrom` into `target`'s call: "09" listen, "01" whisper, "02" barge. */
  monitorCall(action, target, monitorFrom, { key = newKey(), actor, signal } = {}) {
    const query = { action, target, monitor_from: monitorFrom }
    return this.request("GET", "/api/monitor", { query, key, actor, rings: true, signal })
  }

  hangUpCall(callId, { actor } = {}) {
    return this.request("DELETE", `/api/calls/${encodeURIComponent(callId)}`, { actor })
  }

  transferCall(callId, to, { actor } = {}) {
    return this.request("POST", `/api/calls/${encodeURIComponent(callId)}/transfer`, { body: { to }, actor, rings: true })
  }

  getCall(callId) {
    return this.request("GET", `/api/calls/${encodeURIComponent(callId)}`)
  }

  /** The calls that the filters let through, of all pages. */
  async *listCalls(filters = {}) {
    for (let cursor = null; ; ) {
      const page = await this.request("GET", "/api/calls", { query: { ...filters, cursor } })
      yield* page.calls
      if ((cursor = page.next) === null) return
    }
  }

  /** A call as it is, then in each further phase, until it has ended; what may pass meanwhile is waited for. */
  async *watch(callId, { signal } = {}) {
    const path = `/api/calls/${encodeURIComponent(callId)}`
    for (let known = {}; known.phase !== "ended"; ) {
      const call = await this.request("GET", path, { query: known, outlasts: true, signal })
      if (call.phase !== known.phase) yield call
      known = { phase: call.phase, wait: WAIT_S }
    }
  }

  /**
   * What happens, until `signal`: after the `seq` that you have handled last, by default from now on. Filters:
   * `scope`, `extension`, `call_id`. Nothing is missed, whatever breaks meanwhile: where events are not kept
   * any more one of type `events.gone` says so. By a WebSocket, by long polls where there is none.
   */
  async *follow({ after = null, signal, ...filters } = {}) {
    const feed = { after, filters, signal, failures: 0 }
    const canListen = this.#options.socket !== null && typeof WebSocket !== "undefined"
    while (!signal?.aborted) {
      try {
        // Where it begins is asked for first, so that nothing is missed by a WebSocket that breaks at once.
        const listens = canListen && feed.after !== null && Date.now() > this.#pollUntil
        yield* listens ? this.#listen(feed) : this.#poll(feed)
      } catch (error) {
        if (signal?.aborted) return
        if (error.code === "events-gone") yield gap(feed, error.told)
        else if (error.mayPass ?? true) await pause(laterS(error, feed.failures++), signal)
        else throw error
      }
    }
  }

  /**
   * Ask until there is an answer that counts. A click has one key for all its attempts, so that one whose
   * answer was lost is told of again, and rings once; what says `dialled: unknown` is never asked again.
   * What `outlasts` is asked for as long as what fails may pass by itself.
   */
  async request(method, path, { query = {}, body, key, actor, rings = false, outlasts = false, signal } = {}) {
    const asked = Object.entries(query).filter(([, value]) => value !== null && value !== undefined)
    const search = asked.length ? `?${new URLSearchParams(asked)}` : ""
    const headers = { ...this.#options.headers }
    if (key) headers["Idempotency-Key"] = key
    // A header is bytes, and fetch writes each character as one: UTF-8, byte by byte.
    if (actor) headers["X-Actor"] = String.fromCharCode(...new TextEncoder().encode(actor))
    if (body) headers["Content-Type"] = "application/json"
    const url = this.#options.url + path + search
    // Who follows a redirect makes a GET of a POST, and takes a list of calls for one that was placed.
    const options = { method, headers, redirect: "manual", body: body && JSON.stringify(body) }
    for (let attempt = 0; ; attempt++) {
      const error = await bounded(TIMEOUT_MS, signal, (limit) => ask(url, { ...options, signal: limit }, rings))
      if (!(error instanceof CallsError)) return error
      signal?.throwIfAborted()
      const lasts = outlasts && error.mayPass
      const pauseS = lasts ? laterS(error, attempt) : pauseOf(error, attempt, !rings || Boolean(key))
      if (!lasts && (attempt === RETRIES || pauseS === null || pauseS > LONGEST_PAUSE_S)) throw error
      await pause(pauseS, signal)
    }
  }

  async *#poll(feed) {
    const { after, filters, signal } = feed
    const query = { ...filters, after, wait: after === null ? null : WAIT_S }
    const told = await this.request("GET", "/api/events", { query, outlasts: true, signal })
    for (const event of told.events) {
      yield event
      feed.after = event.seq
    }
    feed.after = told.next
  }

  /** One WebSocket, from its ticket to its end. Where it does not open, five minutes are polled. */
  async *#listen(feed) {
    const wanted = JSON.parse(JSON.stringify({ ...feed.filters, after: feed.after ?? undefined }))
    const own = async () => (await this.request("POST", "/api/events/ticket", { body: wanted })).ticket
    const ticket = await (this.#options.ticket ?? own)(wanted)
    const url = new URL(`${this.#options.socket}/api/events?ticket=${ticket}`, globalThis.location?.href)
    url.protocol = url.protocol.replace("http", "ws")
    const socket = new WebSocket(url)
    const told = []
    let [wake, end, isOpen] = [() => {}, null, false]
    socket.onopen = () => (isOpen = true)
    socket.onmessage = ({ data }) => wake(told.push(JSON.parse(data)))
    socket.onclose = ({ code }) => wake((end = code))
    try {
      for (let failure = null; !feed.signal?.aborted; ) {
        while (told.length) {
          const message = told.shift()
          if (message.type !== "error") feed.failures = 0
          if (message.type === "error") failure = message
          else if (message.type === "heartbeat") feed.after = message.newest
          else if (message.seq > feed.after) { // one may come twice
            yield message
            feed.after = message.seq
          }
        }
        if (end !== null) {
          if (!isOpen) this.#pollUntil = Date.now() + 300_000
          else throw new CallsError(STATUS_OF[end] ?? 0, failure ?? { detail: `WebSocket ended: ${end}` })
          return
        }
        // A connection may be dead and not know it.
        await bounded(SILENCE_MS, feed.signal, async (limit) => {
          await new Promise((resolve) => (wake = limit.onabort = resolve))
          if (limit.aborted) end ??= "in silence"
        })
      }
    } finally {
      socket.close()
    }
  }
}

async function ask(url, options, rings) {
  let [answer, told] = [null, {}]
  try {
    answer = await fetch(url, options)
    told = Object((await answer.json()) ?? {})
    if (answer.ok) return told
  } catch (error) {
    if (!answer || answer.ok) return failed(0, { detail: String(error.cause ?? error) }, null, rings)
  }
  return failed(answer.status, told, answer.headers.get("Retry-After"), rings)
}

/** Of a gateway, or of nobody, it is not known what became of what may ring, but of 4xx. */
function failed(status, told, retryAfter, rings) {
  const isKnown = !rings || "dialled" in told
  const dialled = status >= 400 && status < 500 ? "no" : "unknown"
  return new CallsError(status, isKnown ? told : { ...told, code: null, dialled }, retryAfter)
}

/** Seconds until the same may be asked again; null: never. */
function pauseOf(error, attempt, isSafe) {
  const again = 0.5 * 2 ** attempt
  if (error.code !== null) {
    return error.dialled === "unknown" ? null : error.retryAfterS ?? (error.status === 503 ? again : null)
  }
  if (error.status === 429) return error.retryAfterS ?? 1 // API Gateway's {"message": "Too Many Requests"}
  return error.mayPass && isSafe ? error.retryAfterS ?? again : null
}

function gap(feed, { oldest, newest }) {
  const after = feed.after ?? 0
  feed.after = after > newest ? newest : oldest - 1
  return { seq: feed.after, type: "events.gone", at: new Date().toISOString(), gone: { after, oldest, newest } }
}

const laterS = (error, failures) => error.retryAfterS ?? Math.min(30, 2 ** failures)

function pause(seconds, signal) {
  return bounded(seconds * 1000, signal, (limit) => new Promise((resolve) => (limit.onabort = resolve)))
}

/** Do what ends by its own signal: after so long, or with `signal`, at which nothing is left of it. */
async function bounded(ms, signal, act) {
  const bound = new AbortController()
  const stop = () => bound.abort(signal?.reason ?? new Error("no answer in time"))
  const timer = setTimeout(stop, ms)
  signal?.addEventListener("abort", stop)
  try {
    signal?.throwIfAborted()
    return await act(bound.signal)
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener("abort", stop)
  }
}

/** Also on a page without TLS, where crypto.randomUUID is not. */
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("")
}

/**
 * Let a click on `element` call `to` from `from`, each a text or a function that gives one. While the call goes
 * on the button is disabled, and its `data-phase` says how far it is; `onPhase(call)` and `onError(error)` are
 * told. A click that has failed leaves `data-error`. Gives a function that ends this.
 */
export function callButton(element, { calls, from, to, actor, onPhase = () => {}, onError = () => {} }) {
  const text = (given) => (typeof given === "function" ? given(element) : given)
  async function click() {
    if (element.disabled) return
    element.disabled = true
    delete element.dataset.error
    element.dataset.phase = "placing"
    try {
      const { call_id } = await calls.createCall(text(from), text(to), { actor: text(actor) })
      for await (const call of calls.watch(call_id)) {
        element.dataset.phase = call.phase
        if (call.reason) element.dataset.reason = call.reason
        onPhase(call)
      }
    } catch (error) {
      element.dataset.error = error.code ?? "unreachable"
      onError(error)
    } finally {
      element.disabled = false
    }
  }
  element.addEventListener("click", click)
  return () => element.removeEventListener("click", click)
}
