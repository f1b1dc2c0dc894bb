// Starts every part of the page, and brings each what it shows.

import { keepAsking } from "./ask.js";
import { offerChat, startChat } from "./chat.js";
import { startDecisions } from "./decisions.js";
import { $, say } from "./dom.js";
import { showNone, showReceipt } from "./receipt.js";
import { showReplicas } from "./replicas.js";
import { offerRecipes, startRecipes } from "./recipes.js";
import { mark, offerModels, startRequests } from "./requests.js";
import { showTotals } from "./totals.js";
import { clock, span } from "./words.js";

const PERIOD_MS = 2000;

const decisions = startDecisions();
startChat();
startRecipes();
startRequests(() => {});
keepAsking(() => "/admin/overview", PERIOD_MS, showOverview, showSilence);

function showOverview(overview) {
  showTotals(overview);
  showReplicas(overview);
  const names = overview.models.map((model) => model.name);
  offerModels(names);
  decisions.offerModels(names);
  offerChat(overview.models, overview.is_key_needed);
  offerRecipes(overview.is_key_needed);
  showHealth(overview);
}

function showHealth({ state, at_s }) {
  if (!state.is_away) return health("good", `live · ${clock(at_s)}`, "");
  const since = state.heard_at_s ? ` for ${span(at_s - state.heard_at_s)}` : "";
  return health("warn", "state away", `The state deployment has not answered${since}. Gateways serve on from what they last heard; stages and counts below may be old.`);
}

function showSilence(error, pauseMs) {
  health("bad", "no answer", `The gateway does not answer (${error.message}). What is below is old. Asking again in ${span(pauseMs / 1000)}.`);
}

function health(level, words, banner) {
  $("health").dataset.level = level;
  say($("health").querySelector(".words"), words);
  say($("banner"), banner);
  $("banner").hidden = !banner;
  $("banner").dataset.level = level;
}

function follow() {
  const id = new URLSearchParams(location.hash.slice(1)).get("request") ?? "";
  mark(id);
  $("search-id").value = id;
  if (!id) return showNone();
  showReceipt(id);
  $("receipt").scrollIntoView({ block: "nearest", behavior: "instant" });
  return undefined;
}

addEventListener("hashchange", follow);
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = $("search-id").value.trim();
  const hash = id ? `#request=${encodeURIComponent(id)}` : "#";
  if (location.hash === hash) follow();
  else location.hash = hash;
});
$("receipt-close").addEventListener("click", (event) => {
  event.preventDefault();
  history.pushState(null, "", location.pathname);
  follow();
});
document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("input, textarea, select");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    $("search-id").focus();
    $("search-id").select();
  } else if (event.key === "Escape" && !$("receipt-close").hidden && !event.target.matches("textarea")) {
    $("receipt-close").click();
  }
});
follow();
