// What moves without a reload: parts that are fetched again, dialogs, a check line by line.
// Without this script every link and form leads to a page of its own.
"use strict";

const words = document.body.dataset;

async function load(url) {
  const answer = await fetch(url, { headers: { "X-Fragment": "1" }, cache: "no-store" });
  if (answer.status === 401) {
    location.reload(); // it is the log-in page now
    return null;
  }
  const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
  return parsed.body;
}

// What a check has found stays until the page is opened anew, and what is being clicked until it is
// let go: a button that is replaced meanwhile is not clicked.
function isHeld(part) {
  return part.matches(":active") || part.querySelector(".lines:not(:empty)") !== null;
}

// Fetch a part again, for as long as what comes says so; who is on one of its links stays there.
function keep(part) {
  setTimeout(async () => {
    if (!part.isConnected) return;
    if (document.hidden || isHeld(part)) return keep(part);
    try {
      const body = await load(part.dataset.src);
      const next = body && body.querySelector("[data-every]");
      if (!part.isConnected) return;
      if (!next || isHeld(part)) return keep(part); // held since it was asked for
      const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
      part.replaceWith(next);
      if (focused) document.getElementById(focused)?.focus();
      keep(next);
    } catch {
      if (!part.querySelector(".stale")) {
        const note = document.createElement("p");
        note.className = "note warning stale";
        note.setAttribute("role", "status");
        note.textContent = words.stale;
        part.prepend(note);
      }
      keep(part);
    }
  }, Number(part.dataset.every));
}

function keepAll(place) {
  place.querySelectorAll("[data-every]").forEach(keep);
}

const dialog = document.createElement("dialog");
const shut = document.createElement("button");
shut.className = "quiet shut";
shut.textContent = "×";
shut.ariaLabel = words.close;
shut.addEventListener("click", () => dialog.close());
const inside = document.createElement("div");
dialog.append(shut, inside);
dialog.addEventListener("close", () => inside.replaceChildren());
document.body.append(dialog);

async function show(url) {
  try {
    const body = await load(url);
    if (!body) return;
    inside.replaceChildren(...body.childNodes);
  } catch {
    location.assign(url);
    return;
  }
  if (!dialog.open) dialog.showModal();
  const heading = inside.querySelector("h1");
  if (heading) {
    heading.id = "dialog-title";
    dialog.setAttribute("aria-labelledby", heading.id);
  }
  inside.querySelector("[autofocus]")?.focus();
  keepAll(inside);
}

document.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  const link = event.target.closest("a[data-dialog], a[data-cancel]");
  if (!link || (link.dataset.cancel !== undefined && !dialog.open)) return;
  event.preventDefault();
  if (link.dataset.cancel !== undefined) dialog.close();
  else show(link.href);
});

async function check(form) {
  const lines = form.closest("section").querySelector(".lines");
  const button = form.querySelector("button");
  const add = (text) => {
    const line = document.createElement("li");
    line.textContent = text;
    lines.append(line);
    return line;
  };
  lines.replaceChildren();
  button.disabled = true;
  const waiting = add(words.checking);
  try {
    const answer = await fetch(form.action, {
      method: "POST",
      headers: { "X-Fragment": "1" },
      body: new URLSearchParams(new FormData(form)),
    });
    if (answer.headers.get("content-type").startsWith("text/html")) {
      const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
      add(parsed.querySelector(".note")?.textContent ?? String(answer.status));
      return;
    }
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const whole = (rest + value).split("\n");
      rest = whole.pop();
      whole.forEach((text) => lines.insertBefore(add(text), waiting));
    }
  } catch {
    add(words.stale);
  } finally {
    waiting.remove();
    button.disabled = false;
  }
}

document.addEventListener("submit", (event) => {
  if (event.target.dataset.stream === undefined) return;
  event.preventDefault();
  check(event.target);
});

keepAll(document);
