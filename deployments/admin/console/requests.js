// The latest requests of all gateways, each with a bar of where its time went.

import { keepAsking } from "./ask.js";
import { $, h, keep, offer, say } from "./dom.js";
import { LEGEND, bar } from "./stages.js";
import { clock, count, milliseconds, moment, spaced } from "./words.js";

const SHOWN = 40;
const PERIOD_MS = 2000;

let isMoving = true;

export function startRequests(onFailure) {
  $("legend").append(...LEGEND.map(([name, title]) => h("li", {}, h("span", { class: `part ${name}` }), title)));
  const asking = keepAsking(path, PERIOD_MS, show, onFailure);
  for (const filter of ["filter-model", "filter-outcome"]) $(filter).addEventListener("change", () => asking.soon());
  for (const [event, moves] of [["pointerenter", false], ["pointerleave", true]]) {
    $("requests").addEventListener(event, ({ pointerType }) => {
      isMoving = moves || pointerType !== "mouse";
      $("paused").hidden = isMoving;
    });
  }
  return asking;
}

export function offerModels(names) {
  offer($("filter-model"), names, [["", "all models"]]);
}

function path() {
  const query = new URLSearchParams({ limit: SHOWN });
  if ($("filter-model").value) query.set("model", $("filter-model").value);
  const outcome = $("filter-outcome").value;
  if (outcome === "slow") query.set("slow", "1");
  else if (outcome) query.set("outcome", outcome);
  return `/admin/requests?${query}`;
}

export function show({ requests, silent_gateways }) {
  const table = $("requests");
  const empty = $("requests-empty");
  table.hidden = !requests.length;
  empty.hidden = requests.length > 0 && !silent_gateways;
  const isFiltered = $("filter-model").value || $("filter-outcome").value;
  const none = isFiltered ? "None of the requests that gateways remember is like that." : "No request has ended yet. Try a model, or send one to the endpoint.";
  say(empty, requests.length ? `${silent_gateways === 1 ? "A gateway does" : `${silent_gateways} gateways do`} not answer; requests of theirs are missing here.` : none);
  if (!isMoving && requests.length && table.tBodies[0].children.length) return;
  const longest = Math.max(...requests.map((one) => one.e2e_ms), 1);
  keep(table.tBodies[0], requests, (one) => one.request_id, make, (row, one) => {
    row.querySelector(".filled").style.width = `${Math.max(0.6, (100 * one.e2e_ms) / longest)}%`;
  });
}

function make(one) {
  const isFine = one.outcome === "completed";
  const tokens = one.prompt_tokens || one.output_tokens ? `${count(one.prompt_tokens)} → ${count(one.output_tokens)}` : "";
  const link = h("a", { href: `#request=${encodeURIComponent(one.request_id)}`, title: `${moment(one.began_s)}\n${one.request_id}` }, clock(one.began_s));
  const recipe = one.recipe ? h("span", { class: "recipe-of", title: "an engine call of this recipe" }, one.recipe) : null;
  const outcome = isFine ? recipe : h("span", { class: "outcome", "data-level": one.outcome === "client_gone" ? "warn" : "bad" }, one.error_code ? spaced(one.error_code) : spaced(one.outcome));
  const row = h("tr", { tabindex: "-1" },
    h("td", { "data-label": "Time" }, link),
    h("td", { "data-label": "Model", class: "name", title: one.model || null }, h("div", {}, h("span", { class: "of" }, one.model || "–"), outcome)),
    h("td", { "data-label": "", class: "bars" }, bar(one, one.e2e_ms)),
    h("td", { "data-label": "Total", class: "number" }, milliseconds(one.e2e_ms)),
    h("td", { "data-label": "TTFT", class: "number", "data-level": one.slo_met === false ? "bad" : null, title: one.slo_met === false ? "missed the SLO" : null }, milliseconds(one.ttft_ms)),
    h("td", { "data-label": "Tokens", class: "number", title: one.cached_tokens ? `${count(one.cached_tokens)} of the prompt were cached` : null }, tokens));
  row.addEventListener("click", (event) => {
    if (!event.target.closest("a") && !getSelection().toString()) location.hash = link.hash;
  });
  return row;
}

export function mark(id) {
  for (const row of $("requests").tBodies[0].children) row.classList.toggle("chosen", row.dataset.key === id);
}
