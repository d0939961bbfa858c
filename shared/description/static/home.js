"use strict";

// The place to play: only with a secret to which the service says that nobody is rung.
const WORDS = {
  en: {
    wrong: "No enterprise has this secret.",
    real: "This secret is a real enterprise's: phones would ring. This page calls in sandboxes only.",
    lost: "The service does not answer; trying again…",
    ready: "Connected: no phone rings.",
    phases: {
      placing: "is being placed", unknown: "nobody knows", accepted: "Asterisk has it", agent_ringing: "the agent's phone rings",
      agent_answered: "the agent has answered", customer_ringing: "the customer's phone rings", talking: "they talk",
      waiting: "waits", ringing: "rings",
    },
    ended: "ended", incoming: "Incoming", monitor: "supervisor", rung: "rings", answered: "talks",
    listen: "Listen", whisper: "Whisper", barge: "Barge in", hang_up: "Hang up", transfer: "Hand over to", seconds: "s of talk",
  },
  ru: {
    wrong: "Такого секрета нет ни у одного предприятия.",
    real: "Это секрет настоящего предприятия: телефоны зазвонили бы. Страница звонит только в песочницах.",
    lost: "Сервис не отвечает; пробуем ещё раз…",
    ready: "Подключено: никому не звонят.",
    phases: {
      placing: "набирается", unknown: "неизвестно", accepted: "Asterisk принял", agent_ringing: "звонит у сотрудника",
      agent_answered: "сотрудник ответил", customer_ringing: "звонит у клиента", talking: "разговор",
      waiting: "ждёт", ringing: "звонит",
    },
    ended: "окончен", incoming: "Входящий", monitor: "супервизор", rung: "звонит", answered: "говорит",
    listen: "Слушать", whisper: "Подсказать", barge: "Вмешаться", hang_up: "Положить трубку", transfer: "Передать на", seconds: "с разговора",
  },
};
const LANGUAGE = document.documentElement.lang;
const TEXT = WORDS[LANGUAGE];
const STEPS = ["accepted", "agent_ringing", "agent_answered", "customer_ringing", "talking"];
const MODES = { listen: "09", whisper: "01", barge: "02" };
const MOST_CALLS = 12;
const at = (id) => document.getElementById(id);

let secret = "";

async function ask(path, options = {}) {
  const headers = { Authorization: `Bearer ${secret}`, "Accept-Language": LANGUAGE };
  if (options.body) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { ...options, headers, cache: "no-store" });
  return { status: answer.status, body: await answer.json() };
}

// What somebody has clicked: its answer is shown, whatever it is.
async function act(path, options) {
  try {
    const { status, body } = await ask(path, options);
    at("answer").textContent = `${status} ${JSON.stringify(body, null, 2)}`;
  } catch {
    say(TEXT.lost, "bad");
  }
}

function say(text, kind = "") {
  at("told").textContent = text;
  at("told").className = kind;
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

function deed(text, does, className = "") {
  const button = element("button", `quiet ${className}`, text);
  button.addEventListener("click", does);
  return button;
}

function deeds(call) {
  const made = element("div", "deeds");
  if (call.phase === "ended") return made;
  const supervisor = call.from === "151" ? "150" : "151";
  if (call.phase === "talking" && call.kind === "call") {
    for (const [mode, action] of Object.entries(MODES)) {
      const path = `api/monitor?action=${action}&target=${call.from}&monitor_from=${supervisor}`;
      made.append(deed(TEXT[mode], () => act(path)));
    }
    const body = JSON.stringify({ to: supervisor });
    made.append(deed(`${TEXT.transfer} ${supervisor}`, () => act(`api/calls/${call.call_id}/transfer`, { method: "POST", body })));
  }
  made.append(deed(TEXT.hang_up, () => act(`api/calls/${call.call_id}`, { method: "DELETE" }), "bad"));
  return made;
}

function card(id, who, phase, className) {
  const row = element("li", className);
  row.id = `call-${id}`;
  const head = element("div", "who");
  head.append(element("strong", "", who), element("span", "phase", phase));
  row.append(head);
  const before = at(row.id);
  if (before) before.replaceWith(row);
  else at("calls").prepend(row);
  while (at("calls").children.length > MOST_CALLS) at("calls").lastElementChild.remove();
  at("none").hidden = true;
  return row;
}

function showCall(call) {
  const kind = call.kind === "monitor" ? ` (${TEXT.monitor})` : "";
  const talked = call.talk_s ? `, ${call.talk_s} ${TEXT.seconds}` : "";
  const phase = call.phase === "ended" ? `${TEXT.ended}: ${call.reason}${talked}` : TEXT.phases[call.phase] ?? call.phase;
  const row = card(call.call_id, `${call.from} → ${call.to}${kind}`, phase, call.phase === "ended" ? "over" : "");
  const bar = element("div", "phases");
  bar.setAttribute("aria-hidden", "true");
  const reached = STEPS.findLastIndex((step) => call.times[step]);
  STEPS.slice(0, call.kind === "monitor" ? 3 : undefined).forEach((step, index) => {
    bar.append(element("i", index <= reached ? `done ${step}` : ""));
  });
  row.append(bar, deeds(call));
}

function showIncoming(call) {
  const who = `${TEXT.incoming}: ${call.from ?? "?"} → ${call.to ?? "?"}`;
  const rung = call.extensions.length ? `${call.extensions.join(", ")} ${TEXT.rung}` : "";
  const talks = call.answered_by ? `${call.answered_by} ${TEXT.answered}` : "";
  const phase = call.phase === "ended" ? `${TEXT.ended}${call.talk_s ? `: ${call.talk_s} ${TEXT.seconds}` : ""}` : (call.phase === "talking" ? talks : rung) || TEXT.phases[call.phase];
  card(call.pbx_call_id, who, phase, `incoming ${call.phase === "ended" ? "over" : call.phase}`);
}

async function follow() {
  let { status, body } = await ask("api/events");
  if (status !== 200) return say(status === 401 ? TEXT.wrong : body.detail, "bad");
  if (body.sandbox !== true) return say(TEXT.real, "bad");
  at("live").hidden = false;
  at("call").disabled = false;
  at("shown-secret").textContent = secret;
  say(TEXT.ready, "good");
  const mine = secret;
  let after = body.next;
  for (const call of (await ask("api/calls?open=true&limit=10")).body.calls.reverse()) showCall(call);
  // Whose calls they are that somebody else begins is not known in the first seconds: 503.
  let which = "scope=all&wait=20";
  while (secret === mine) {
    try {
      ({ status, body } = await ask(`api/events?${which}&after=${after}`));
      which = status === 503 ? "wait=3" : "scope=all&wait=20";
      if (status === 503) continue;
      if (status === 410) after = body.newest;
      if (status === 200) {
        after = body.next;
        for (const event of body.events) {
          if (event.call) showCall(event.call);
          if (event.pbx_call) showIncoming(event.pbx_call);
        }
      } else await new Promise((resolve) => setTimeout(resolve, 2000));
      say(TEXT.ready, "good");
    } catch {
      say(TEXT.lost, "bad");
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
}

function begin() {
  secret = at("secret").value;
  at("call").disabled = true;
  follow().catch(() => say(TEXT.lost, "bad"));
}

at("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  begin();
});
at("order").addEventListener("submit", (event) => {
  event.preventDefault();
  const chosen = new FormData(at("order"));
  const body = JSON.stringify({ from: chosen.get("agent"), to: chosen.get("customer") });
  act("api/calls", { method: "POST", body });
});
at("shown-origin").textContent = new URL(".", location.href).href.replace(/[/]$/, "");
// A link that the demo prints brings its secret behind the #, which no server and no log sees.
if (location.hash.length > 1) {
  at("secret").value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname + location.search);
  begin();
}
