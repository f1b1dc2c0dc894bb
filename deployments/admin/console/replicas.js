// Models with their replicas: a body of the table for each model.

import { $, h, keep, say } from "./dom.js";
import { NOTHING, count, milliseconds, percent, rate, span, spaced } from "./words.js";

const STAGE_WORDS = { download: "downloading", convert: "converting", verify: "checking", load: "loading", warm_up: "warming up", drain: "draining" };

export function showReplicas(overview) {
  const table = $("replicas");
  const bodies = overview.models.map((model) => ({ model, replicas: overview.replicas.filter((one) => one.model === model.name) }));
  table.hidden = !bodies.length;
  $("replicas-empty").hidden = bodies.length > 0;
  say($("replicas-empty"), "No model is configured.");
  keep(table, [{ head: true }, ...bodies], (body) => (body.head ? "head" : `model ${body.model.name}`), makeBody, (body, group) => {
    if (!group.head) fill(body, group, overview);
  });
  showGateways(overview);
  showIncidents(overview);
}

function makeBody() {
  return h("tbody", {}, h("tr", { class: "model", "data-key": "model" }, h("th", { colspan: 7, scope: "rowgroup" }, h("div"))));
}

function fill(body, { model, replicas }, overview) {
  body.querySelector(".model div").replaceChildren(...aboutModel(model));
  const rows = [{ isModel: true }, ...(replicas.length ? replicas : [{ isNone: true }])];
  keep(body, rows, (row) => (row.isModel ? "model" : row.isNone ? "none" : row.replica_id), makeRow, (element, row) => {
    if (row.isNone) say(element.firstElementChild, whyNone(model));
    else if (!row.isModel) fillRow(element, row, overview.at_s);
  });
}

function aboutModel(model) {
  const replicas = `${model.ready} of ${model.target} ${model.target === 1 ? "replica" : "replicas"}`;
  const facts = [
    [replicas, model.starting ? `${model.starting} starting` : `between ${model.replicas.min} and ${model.replicas.max}`],
    [`${rate(model.requests_per_s)} req/s`, "requests per second in the last minute"],
    [`${count(model.output_tokens_per_s)} tok/s`, "output tokens per second in the last minute"],
  ];
  if (model.ttft_p50_ms !== null) {
    const slo = `SLO ${milliseconds(model.slo.ttft_ms)} to the first token, ${milliseconds(model.slo.tpot_ms)} per token after`;
    facts.push([`TTFT ${milliseconds(model.ttft_p50_ms)} / ${milliseconds(model.ttft_p95_ms)}`, `median and 95th percentile; ${slo}`]);
  }
  if (model.slo_met !== null) facts.push([`SLO ${percent(model.slo_met)}`, "of requests in the last minute", model.slo_met < 0.9 ? "bad" : model.slo_met < 0.99 ? "warn" : ""]);
  if (model.waiting) facts.push([`${count(model.waiting)} waiting`, "at the gateways, for a replica", "warn"]);
  return [
    h("strong", {}, model.name),
    model.engine === "simulated" ? h("span", { class: "badge", title: "No weights: it keeps time, and answers with filler" }, "simulated") : null,
    ...facts.map(([text, title, level]) => h("span", { class: "fact", title, "data-level": level || null }, text)),
  ].filter(Boolean);
}

function whyNone(model) {
  if (model.starting) return "A replica is being placed.";
  return model.replicas.min === 0 ? "At zero replicas; a request wakes it." : `No replica: ${model.not_ready || "none is there."}`;
}

function makeRow(row) {
  if (row.isNone) return h("tr", {}, h("td", { colspan: 7, class: "none" }));
  const cells = ["Replica", "Node", "Stage", "Load", "KV cache", "Prefix hits", "Waiting"].map((label, at) =>
    h("td", { "data-label": label, class: at > 4 ? "number" : null }));
  cells[0].append(h("code"));
  cells[1].append(h("code"));
  cells[2].append(h("span", { class: "stage" }, h("span", { class: "dot" }), h("span", { class: "words" })));
  for (const at of [3, 4]) cells[at].append(h("span", { class: "meter" }, h("span", { class: "level" })), h("span", { class: "reading" }));
  return h("tr", {}, cells);
}

function fillRow(row, replica, nowS) {
  const [name, node, stage, load, cache, hits, waiting] = row.children;
  say(name.firstElementChild, replica.replica_id);
  name.title = `process ${replica.pid}, ${replica.engine}`;
  say(node.firstElementChild, replica.node_id.slice(0, 8));
  node.title = replica.node_id;
  const isReady = replica.stage === "ready" && !replica.is_leaving;
  row.dataset.level = isReady ? (replica.engine_answers ? "good" : "warn") : "wait";
  const started = Object.values(replica.stages_s).reduce((sum, seconds) => sum + seconds, 0);
  const since = replica.started_at_s + (replica.stage === "ready" ? started : 0);
  say(stage.querySelector(".words"), `${replica.is_leaving ? "leaving" : STAGE_WORDS[replica.stage] ?? spaced(replica.stage)} · ${span(nowS - since)}`);
  stage.title = [replica.detail, ...Object.entries(replica.stages_s).map(([name, seconds]) => `${spaced(name)} ${seconds.toFixed(1)} s`)].filter(Boolean).join("; ");
  meter(load, replica.max_in_flight ? replica.in_flight / replica.max_in_flight : null, replica.max_in_flight ? `${replica.in_flight} / ${replica.max_in_flight}` : NOTHING);
  load.title = "requests that gateways have there, of as many as it takes";
  meter(cache, replica.kv_cache_used, percent(replica.kv_cache_used));
  cache.title = replica.kv_cache_tokens ? `of ${count(replica.kv_cache_tokens)} tokens; ${replica.preemptions ?? 0} preemptions so far` : "";
  say(hits, percent(replica.prefix_hit_rate));
  hits.title = "of prompt tokens in the last minute";
  say(waiting, count(replica.waiting));
  waiting.title = "in the engine's own queue";
}

function meter(cell, share, words) {
  const level = cell.querySelector(".level");
  level.style.width = `${100 * Math.min(1, share ?? 0)}%`;
  level.dataset.level = share > 0.95 ? "bad" : share > 0.8 ? "warn" : "";
  say(cell.querySelector(".reading"), words);
}

function showGateways({ gateways }) {
  const answering = gateways.filter((gateway) => gateway.answers).length;
  const words = `${gateways.length} ${gateways.length === 1 ? "gateway" : "gateways"}`;
  say($("gateways"), answering === gateways.length ? words : `${words}, ${gateways.length - answering} silent`);
  $("gateways").title = gateways.map((gateway) =>
    `${gateway.gateway_id} (process ${gateway.pid}): ${gateway.answers ? `${gateway.in_flight} in flight` : "does not answer"}`).join("\n");
}

function showIncidents({ failures, drains, at_s }) {
  const lately = [
    ...failures.map((one) => ({ ...one, level: "bad", words: `${spaced(one.cause)}: ${one.message}` })),
    ...drains.map((one) => ({ ...one, level: one.cut_requests ? "bad" : "", words: `drained in ${one.waited_s.toFixed(1)} s, ${one.cut_requests || "no"} requests cut` })),
  ].sort((a, b) => b.at_s - a.at_s).slice(0, 4);
  keep($("incidents"), lately, (one) => `${one.replica_id}${one.at_s}`, () => h("li", {}, h("time"), h("strong"), h("span")), (item, one) => {
    item.dataset.level = one.level;
    say(item.children[0], `${span(at_s - one.at_s)} ago`);
    say(item.children[1], `${one.model} ${one.replica_id}`);
    say(item.children[2], one.words);
  });
}
