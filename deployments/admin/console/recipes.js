// A recipe tried out, by the public API: its inputs as a form, and in its answer which words speak for it.

import { $, h, offer, say } from "./dom.js";
import { count, milliseconds, percent } from "./words.js";

const LONG_INPUT_CHARS = 300;
const FAINTEST = 0.04;
let cards = new Map();
let key = "";

export function startRecipes() {
  $("recipe-name").addEventListener("change", showForm);
  $("recipe-form").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
}

// With the key that is in the chat's field, if any is needed.
export async function offerRecipes(isKeyNeeded) {
  const given = $("chat-key").value.trim();
  if (cards.size && given === key) return;
  if (isKeyNeeded && !given) return;
  key = given;
  const answer = await fetch("/v1/recipes", { headers: headers() }).catch(() => null);
  if (!answer?.ok) return;
  const { data } = await answer.json();
  cards = new Map(data.map((card) => [card.name, card]));
  offer($("recipe-name"), [...cards.keys()]);
  showForm();
}

function headers() {
  return { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
}

function showForm() {
  const card = cards.get($("recipe-name").value);
  if (!card) return;
  say($("recipe-about"), card.about);
  const needed = new Set(card.inputs.required);
  const fields = Object.entries(card.inputs.properties).map(([name, schema]) => field(name, schema, needed.has(name)));
  $("recipe-inputs").replaceChildren(...fields);
  $("recipe-answer").replaceChildren();
}

function field(name, schema, isNeeded) {
  const hint = [schema.description, schema.default === undefined ? null : `else ${schema.default}`].filter(Boolean).join("; ");
  const attributes = { id: `recipe-input-${name}`, name, required: isNeeded, placeholder: hint, spellcheck: "false" };
  return h("label", {}, isNeeded ? name : `${name} (may be left out)`, control(schema, attributes));
}

function control(schema, attributes) {
  if (schema.enum) return h("select", attributes, schema.enum.map((option) => h("option", { value: option }, option)));
  if (schema.type === "boolean") return h("input", { ...attributes, type: "checkbox", required: false });
  if (schema.type === "number") return h("input", { ...attributes, type: "number", step: "any", min: schema.minimum, max: schema.maximum });
  const isLong = schema.type === "object" || (schema.type === "string" && schema.maxLength > LONG_INPUT_CHARS);
  return isLong ? h("textarea", { ...attributes, rows: 2 }) : h("input", { ...attributes, type: "text" });
}

function inputs(card) {
  const given = {};
  for (const [name, schema] of Object.entries(card.inputs.properties)) {
    const value = valueOf($(`recipe-input-${name}`), schema, name);
    if (value !== undefined) given[name] = value;
  }
  return given;
}

function valueOf(element, schema, name) {
  if (schema.type === "boolean") return element.checked;
  const text = element.value.trim();
  if (!text) return undefined;
  if (schema.type === "number") return Number(text);
  if (schema.type === "array") return text.split(",").map((one) => one.trim()).filter(Boolean);
  if (schema.type !== "object") return element.value;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${name} is not JSON: ${error.message}`);
  }
}

async function run() {
  const card = cards.get($("recipe-name").value);
  if (!card) return;
  const body = $("recipe-answer");
  $("recipe-run").disabled = true;
  body.replaceChildren(h("p", { class: "aside" }, "asking …"));
  const beganMs = performance.now();
  try {
    const asked = { inputs: inputs(card), model: $("chat-model").value || null, explain: $("recipe-why").checked };
    const answer = await fetch(`/v1/recipes/${card.name}`, { method: "POST", headers: headers(), body: JSON.stringify(asked) });
    const told = await answer.json().catch(() => ({ error: { message: `status ${answer.status}` } }));
    if (!answer.ok) throw new Error(told.error.message);
    body.replaceChildren(...shown(told, performance.now() - beganMs));
  } catch (error) {
    body.replaceChildren(h("p", { class: "note", "data-level": "bad" }, error.message));
  } finally {
    $("recipe-run").disabled = false;
  }
}

function shown(told, tookMs) {
  const output = typeof told.output === "string" ? told.output : JSON.stringify(told.output, null, 1);
  const tokens = `${count(told.usage.prompt_tokens)} → ${count(told.usage.completion_tokens)} tokens`;
  const calls = `${told.calls.length} engine call${told.calls.length === 1 ? "" : "s"}`;
  return [
    h("p", { class: "output" }, output),
    told.probabilities ? chances(told.probabilities) : null,
    told.explanation ? why(told.explanation) : null,
    h("p", { class: "note" }, [milliseconds(tookMs), tokens, calls].join(" · "), " · ", h("a", { href: `#request=${told.id}` }, "where its time went")),
  ].filter(Boolean);
}

function chances(probabilities) {
  const rows = Object.entries(probabilities).map(([label, chance]) => {
    const bar = h("span", { class: "chance" });
    bar.style.setProperty("--share", chance);
    return h("li", {}, h("span", {}, label), bar, h("span", { class: "number" }, percent(chance)));
  });
  return h("ul", { class: "chances" }, rows);
}

// How strong a colour is, is how much a part decides beside the one that decides most; what speaks against the answer has another colour.
function why({ input, segments, cost }) {
  const largest = Math.max(...segments.map(weight), Number.EPSILON);
  const parts = segments.map((segment) => {
    const share = weight(segment) / largest;
    if (share < FAINTEST) return h("span", {}, segment.text);
    const mark = h("mark", { class: segment.contribution > 0 ? "for" : "against", title: words(segment) }, segment.text);
    mark.style.setProperty("--share", share);
    return mark;
  });
  return h(
    "div",
    { class: "why" },
    h("p", { class: "aside" }, `What in '${input}' speaks for the answer, and what against it; by leaving each part out (${cost.variants} readings, ${count(cost.prompt_tokens)} tokens)`),
    h("p", { class: "said" }, parts),
  );
}

function weight({ contribution, shift }) {
  return shift ?? Math.abs(contribution);
}

function words({ contribution, shift, rank }) {
  const moved = shift === undefined ? "" : `; without it, ${percent(shift)} of the probability goes to other labels`;
  return `${rank}. ${contribution > 0 ? "for" : "against"} the answer: ${contribution > 0 ? "+" : ""}${contribution.toFixed(2)} log-probability${moved}`;
}
