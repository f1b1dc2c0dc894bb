// The stages of a request in the order it passes them, and a bar of them.

import { h } from "./dom.js";
import { milliseconds, percent } from "./words.js";

export const STAGES = [
  ["auth", "auth", "whose it is"],
  ["read", "read", "reading and checking the body"],
  ["queue", "queue", "waiting at the gateway"],
  ["route", "route", "choosing a replica"],
  ["connect", "connect", "reaching the replica"],
  ["retry", "retry", "replicas that did not answer"],
  ["engine_queue", "engine queue", "waiting in the engine"],
  ["prefill", "prefill", "computing the prompt"],
  ["decode", "decode", "making the answer"],
  ["engine", "engine", "the engine, which said no more"],
  ["transfer", "transfer", "the way to the engine and back, tokenizing"],
];
const SMALL = new Set(["auth", "read", "route", "connect"]);

export const LEGEND = [["gateway", "auth, read, route, connect"], ...STAGES.filter(([name]) => !SMALL.has(name)).map(([name, title]) => [name, title])];

export const colourOf = (stage) => (SMALL.has(stage) ? "gateway" : stage);
export const titleOf = (stage) => STAGES.find(([name]) => name === stage)?.[1] ?? stage;
export const meaningOf = (stage) => STAGES.find(([name]) => name === stage)?.[2] ?? "";

export function known(request) {
  return STAGES.map(([name]) => [name, request.stages_ms[name]]).filter(([, ms]) => ms !== undefined);
}

// `wholeMs`: what the full width stands for.
export function bar(request, wholeMs) {
  const total = request.e2e_ms || 0;
  const inner = h("span", { class: "filled" });
  inner.style.width = `${Math.max(0.6, (100 * total) / (wholeMs || 1))}%`;
  for (const [stage, ms] of known(request)) {
    if (ms / (total || 1) < 0.002) continue;
    const part = h("span", { class: `part ${colourOf(stage)}`, title: `${titleOf(stage)} ${milliseconds(ms)}` });
    part.style.flexGrow = ms;
    inner.append(part);
  }
  return h("span", { class: "bar", role: "img", "aria-label": spoken(request) }, inner);
}

function spoken(request) {
  const large = known(request).filter(([, ms]) => ms >= 0.05 * request.e2e_ms);
  return large.map(([stage, ms]) => `${titleOf(stage)} ${percent(ms / request.e2e_ms)}`).join(", ") || "no time at all";
}
