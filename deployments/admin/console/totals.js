// The strip at the top: what the last minute came to, each number with its way here.

import { $, h, keep, say, svg } from "./dom.js";
import { count, milliseconds, percent, rate } from "./words.js";

const REMEMBERED = 90;
const TILES = [
  ["requests", "Requests / s", (t) => t.requests_per_s, rate, (t) => (t.failed_per_s ? `${rate(t.failed_per_s)} failed / s` : "none failed")],
  ["tokens", "Output tokens / s", (t) => t.output_tokens_per_s, count, (t) => `${count(t.prompt_tokens_per_s)} prompt tokens / s`],
  ["ttft50", "TTFT, median", (t) => t.ttft_p50_ms, milliseconds, () => "time to first token"],
  ["ttft95", "TTFT, 95th percentile", (t) => t.ttft_p95_ms, milliseconds, () => "one of twenty is slower"],
  ["slo", "SLO met", (t) => t.slo_met, percent, (t) => (t.slo_met === null ? "nothing to judge" : "in the last minute")],
  ["hits", "Prefix cache hits", (t) => t.prefix_hit_rate, percent, () => "of prompt tokens"],
  ["now", "In flight", (t) => t.in_flight, count, (t) => (t.waiting ? `${count(t.waiting)} wait at the gateways` : "none wait")],
];
const past = new Map(TILES.map(([key]) => [key, []]));

export function showTotals({ totals }) {
  for (const [key, , valueOf] of TILES) {
    const values = past.get(key);
    values.push(valueOf(totals));
    if (values.length > REMEMBERED) values.shift();
  }
  keep($("totals"), TILES, ([key]) => key, make, (tile, [key, , valueOf, words, aside]) => {
    const value = valueOf(totals);
    say(tile.querySelector(".value"), words(value));
    say(tile.querySelector(".aside"), aside(totals));
    tile.dataset.level = levelOf(key, value, totals);
    tile.querySelector("path").setAttribute("d", line(past.get(key), key === "slo" || key === "hits" ? 1 : null));
  });
}

function make([, title]) {
  const spark = svg("svg", { viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("path"));
  return h("div", { class: "tile" }, h("h3", {}, title), h("p", { class: "value" }), spark, h("p", { class: "aside" }));
}

function levelOf(key, value, totals) {
  if (key === "slo" && value !== null) return value < 0.9 ? "bad" : value < 0.99 ? "warn" : "";
  if (key === "now") return totals.waiting ? "warn" : "";
  return key === "requests" && totals.failed_per_s ? "warn" : "";
}

function line(values, most) {
  const top = most ?? Math.max(...values.filter((value) => value !== null), 1e-9) * 1.1;
  let path = "";
  let pen = "M";
  values.forEach((value, at) => {
    if (value === null) {
      pen = "M";
      return;
    }
    const x = values.length > 1 ? (100 * at) / (values.length - 1) : 0;
    path += `${pen}${x.toFixed(1)},${(23 - 21 * Math.min(1, value / top)).toFixed(1)}`;
    pen = "L";
  });
  return path;
}
