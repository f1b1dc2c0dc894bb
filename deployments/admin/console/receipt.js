// Why one request took as long as it did: a sentence, its stages beside the usual ones, and its facts.

import { ask } from "./ask.js";
import { $, h } from "./dom.js";
import { bar, colourOf, known, meaningOf, titleOf } from "./stages.js";
import { count, milliseconds, moment, percent, spaced } from "./words.js";

let turn = 0;

export function showNone() {
  turn += 1;
  $("receipt-close").hidden = true;
  $("receipt").classList.remove("open");
  $("receipt-body").replaceChildren(h("p", { class: "empty" }, "Click a request, or paste the x-request-id of an answer above."));
}

export async function showReceipt(id) {
  const mine = ++turn;
  $("receipt-close").hidden = false;
  $("receipt").classList.add("open");
  $("receipt-body").replaceChildren(h("p", { class: "empty" }, "Asking all gateways …"));
  let content;
  try {
    content = about(await ask(`/admin/requests/${encodeURIComponent(id)}`));
  } catch (error) {
    content = [h("p", { class: "sentence", "data-level": "bad" }, error.message), h("p", { class: "aside" }, h("code", {}, id))];
  }
  if (mine === turn) $("receipt-body").replaceChildren(...content);
}

function about({ request, text, sentence, usual, largest }) {
  return [
    h("p", { class: "sentence" }, sentence),
    bar(request, request.e2e_ms),
    stagesTable(request, usual, largest),
    ...(text ? spoken(text, request.tenant) : []),
    facts(request),
  ];
}

// What it said and was answered, of a tenant that has it shown.
function spoken({ prompt, answer, cut }, tenant) {
  const ends = cut.length ? `, without what is left out of the ${cut.join(" and the ")}` : "";
  return [
    h("section", { class: "spoken", "aria-label": "What was said" },
      [["Prompt", prompt], ["Answer", answer]].map(([title, parts]) => [
        h("h3", {}, title),
        parts.length ? parts.map(({ of, text }) => h("div", { class: "part-said" }, h("p", { class: "of" }, of), h("p", { class: "said" }, text))) : h("p", { class: "aside" }, "no text"),
      ]),
      h("p", { class: "aside" }, `As the model got and said it${ends}. Whoever can open this page can read it, because ${tenant} has its text shown; `, h("code", {}, `baryon keys limit ${tenant} --show-text off`), " ends that, and forgets it.")),
  ];
}

function stagesTable(request, usual, largest) {
  const rows = known(request).map(([stage, ms]) =>
    h("tr", { class: stage === largest ? "largest" : "", title: meaningOf(stage) },
      h("th", { scope: "row" }, h("span", { class: `part ${colourOf(stage)}` }), titleOf(stage)),
      h("td", { class: "number" }, milliseconds(ms)),
      h("td", { class: "number muted" }, request.e2e_ms ? percent(ms / request.e2e_ms) : ""),
      h("td", { class: "number muted" }, usual ? milliseconds(usual.stages[stage] ?? 0) : "")));
  rows.push(h("tr", { class: "sum" }, h("th", { scope: "row" }, "total"), h("td", { class: "number" }, milliseconds(request.e2e_ms)), h("td"),
    h("td", { class: "number muted" }, usual ? milliseconds(usual.e2e_ms) : "")));
  const about = usual ? `usual: median of ${usual.requests} others` : "";
  return h("table", { class: "stages" },
    h("thead", {}, h("tr", {}, h("th", {}, "Stage"), h("th", { class: "number" }, "Time"), h("th", { class: "number" }, "Share"), h("th", { class: "number", title: about }, usual ? "Usual" : ""))),
    h("tbody", {}, rows));
}

function facts(request) {
  const predicted = request.predicted_ttft_ms === null ? "" : ` (predicted ${milliseconds(request.predicted_ttft_ms)})`;
  const hits = request.predicted_hit_tokens === null ? "" : `, ${count(request.predicted_hit_tokens)} expected`;
  const list = [
    ["Ended", `${spaced(request.outcome)}${request.status ? `, status ${request.status}` : ""}${request.error_code ? `, ${request.error_code}` : ""}`],
    ["SLO", request.slo_met === null ? "not judged" : request.slo_met ? "met" : "missed"],
    ["First token", `${milliseconds(request.ttft_ms)}${predicted}`],
    ["Tokens", `${count(request.prompt_tokens)} in (${count(request.cached_tokens)} cached${hits}), ${count(request.output_tokens)} out`],
    ["Model", request.model || "none of ours"],
    ["Replica", request.replica || "none", true],
    ["Asked before", request.tried.join(", "), true],
    ["Recipe", request.recipe],
    ["Made for", request.part_of, true],
    ["Tenant", request.tenant],
    ["Asked for", `${request.path}${request.stream ? ", streamed" : ""}`],
    ["Began", moment(request.began_s)],
    ["Gateway", request.gateway_id, true],
    ["Id", request.request_id, true],
    ["Client's id", request.client_request_id, true],
    ["Trace", request.trace_id, true],
  ];
  return h("dl", {}, list.filter(([, value]) => value).map(([name, value, isCode]) => [h("dt", {}, name), h("dd", {}, isCode ? h("code", {}, value) : value)]));
}
