// A chat by the public API, as any client would have it. A key stays in this page, and goes nowhere but to the gateway.

import { $, h, offer, say } from "./dom.js";
import { milliseconds } from "./words.js";

const MOST_TOKENS = 512;
let turns = [];
let stop = null;

export function startChat() {
  $("chat-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (stop) stop.abort();
    else send();
  });
  $("chat-text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!stop) send();
    }
  });
  showEmpty();
}

export function offerChat(models, isKeyNeeded) {
  offer($("chat-model"), models.map((model) => model.name));
  $("chat-key-row").hidden = !isKeyNeeded;
  const chosen = models.find((model) => model.name === $("chat-model").value);
  say($("chat-note"), chosen?.engine === "simulated" ? "A simulated engine: its timing is a model's, its words are filler." : "");
}

function showEmpty() {
  $("chat-log").replaceChildren(h("p", { class: "empty" }, "Answers stream, with time to first token and tokens per second."));
}

async function send() {
  const content = $("chat-text").value.trim();
  const model = $("chat-model").value;
  if (!content || !model) return;
  if (!turns.length) $("chat-log").replaceChildren();
  $("chat-text").value = "";
  turns.push({ role: "user", content });
  write("user", content);
  const reply = write("assistant", "");
  reply.element.classList.add("coming");
  stop = new AbortController();
  say($("chat-send"), "Stop");
  try {
    const answer = await stream(model, reply, stop.signal);
    turns.push({ role: "assistant", content: answer });
  } catch (error) {
    turns.pop();
    const stopped = error.name === "AbortError";
    reply.note(stopped ? "stopped" : error.message, stopped ? "" : "bad");
  } finally {
    stop = null;
    say($("chat-send"), "Send");
    reply.element.classList.remove("coming");
  }
}

async function stream(model, reply, signal) {
  const headers = { "content-type": "application/json" };
  const key = $("chat-key").value.trim();
  if (key) headers.authorization = `Bearer ${key}`;
  const body = JSON.stringify({ model, messages: turns, stream: true, max_tokens: MOST_TOKENS, stream_options: { include_usage: true } });
  const beganMs = performance.now();
  const answer = await fetch("/v1/chat/completions", { method: "POST", headers, body, signal });
  if (!answer.ok) {
    const { error } = await answer.json().catch(() => ({ error: { message: `status ${answer.status}` } }));
    throw new Error(error.message);
  }
  let text = "";
  let firstMs = null;
  let tokens = 0;
  for await (const event of events(answer.body)) {
    if (event.error) throw new Error(event.error.message);
    const piece = event.choices?.[0]?.delta?.content ?? "";
    if (piece) {
      firstMs ??= performance.now();
      text += piece;
      reply.say(text);
    }
    tokens = event.usage?.completion_tokens ?? tokens;
  }
  const endMs = performance.now();
  const perS = tokens > 1 && firstMs !== null && endMs > firstMs ? ((tokens - 1) * 1000) / (endMs - firstMs) : null;
  const parts = [
    firstMs === null ? "no text" : `TTFT ${milliseconds(firstMs - beganMs)}`,
    perS === null ? null : `${perS < 10 ? perS.toFixed(1) : Math.round(perS)} tokens/s`,
    `${tokens} tokens`,
    milliseconds(endMs - beganMs),
  ];
  reply.note(parts.filter(Boolean).join(" · "), "", answer.headers.get("x-request-id"));
  return text;
}

async function* events(body) {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of pieces(body)) {
    rest += decoder.decode(chunk, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data:") && !line.includes("[DONE]")) yield JSON.parse(line.slice(5));
    }
  }
}

async function* pieces(body) {
  const reader = body.getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
}

function write(role, content) {
  const text = h("p", {}, content);
  const note = h("p", { class: "note" });
  const element = h("div", { class: `turn ${role}` }, text, note);
  const log = $("chat-log");
  log.append(element);
  log.scrollTop = log.scrollHeight;
  return {
    element,
    say(words) {
      const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
      text.textContent = words;
      if (isAtEnd) log.scrollTop = log.scrollHeight;
    },
    note(words, level, id) {
      note.dataset.level = level;
      note.replaceChildren(words, ...(id ? [" · ", h("a", { href: `#request=${id}` }, "where its time went")] : []));
      log.scrollTop = log.scrollHeight;
    },
  };
}
