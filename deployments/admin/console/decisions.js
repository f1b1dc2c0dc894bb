// How many replicas the autoscaler wanted and had over time, and why.

import { keepAsking } from "./ask.js";
import { $, h, offer, svg } from "./dom.js";
import { clock, moment, span } from "./words.js";

const PERIOD_MS = 5000;
const WIDTH = 480;
const HEIGHT = 132;
const PAD = { left: 22, right: 6, top: 8, bottom: 18 };
const LISTED = 8;

export function startDecisions() {
  const select = $("decisions-model");
  const path = () => (select.value ? `/admin/decisions?model=${encodeURIComponent(select.value)}` : null);
  const asking = keepAsking(path, PERIOD_MS, show, (error) => empty(error.message));
  select.addEventListener("change", () => {
    empty("Loading …");
    asking.soon();
  });
  empty("Loading …");
  return {
    offerModels(names) {
      const before = select.value;
      offer(select, names);
      if (select.value !== before) asking.soon();
      if (!names.length) empty("No model is configured.");
    },
  };
}

function empty(words) {
  $("decisions").replaceChildren(h("p", { class: "empty" }, words));
}

function show({ model, points, changes, last }) {
  if (model !== $("decisions-model").value) return;
  if (!last) {
    empty("No decision yet: no gateway has told of any demand.");
    return;
  }
  $("decisions").replaceChildren(
    h("p", { class: "sentence" }, `${last.granted} ${last.granted === 1 ? "replica" : "replicas"}: ${last.reason}`),
    chart(points),
    h("p", { class: "keys" }, h("span", { class: "key target" }, "asked for"), h("span", { class: "key running" }, "running"), h("span", { class: "key load" }, "load, in replicas kept busy")),
    changes.length ? list(changes) : h("p", { class: "empty" }, "The count has not changed yet."));
}

function chart(points) {
  const from = points[0].at_s;
  const to = Math.max(points.at(-1).at_s, from + 60);
  const most = Math.max(1, ...points.flatMap((point) => [point.target, point.running, point.load])) * 1.12;
  const x = (atS) => PAD.left + ((atS - from) / (to - from)) * (WIDTH - PAD.left - PAD.right);
  const y = (value) => HEIGHT - PAD.bottom - (value / most) * (HEIGHT - PAD.top - PAD.bottom);
  const area = `${steps(points, "running", x, y)}L${x(points.at(-1).at_s)},${y(0)}L${x(from)},${y(0)}Z`;
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", "aria-label": spoken(points) },
    ...grid(most, y),
    svg("path", { class: "running", d: area }),
    svg("path", { class: "load", d: points.map((point, at) => `${at ? "L" : "M"}${x(point.at_s).toFixed(1)},${y(point.load).toFixed(1)}`).join("") }),
    svg("path", { class: "target", d: steps(points, "target", x, y) }),
    text(x(from), HEIGHT - 4, clock(from), "start"),
    text(x(to), HEIGHT - 4, clock(to), "end"),
    svg("line", { class: "cursor", y1: PAD.top, y2: HEIGHT - PAD.bottom, visibility: "hidden" }));
  const reading = h("p", { class: "reading", "aria-hidden": "true" });
  picture.addEventListener("pointermove", (event) => point(event, picture, reading, points, x, from, to));
  picture.addEventListener("pointerleave", () => {
    picture.querySelector(".cursor").setAttribute("visibility", "hidden");
    reading.textContent = "";
  });
  return h("div", { class: "plot" }, picture, reading);
}

function point(event, picture, reading, points, x, from, to) {
  const box = picture.getBoundingClientRect();
  const at = ((event.clientX - box.left) / box.width) * WIDTH;
  const wanted = from + ((at - PAD.left) / (WIDTH - PAD.left - PAD.right)) * (to - from);
  const one = points.reduce((best, next) => (Math.abs(next.at_s - wanted) < Math.abs(best.at_s - wanted) ? next : best));
  const cursor = picture.querySelector(".cursor");
  for (const end of ["x1", "x2"]) cursor.setAttribute(end, x(one.at_s));
  cursor.setAttribute("visibility", "visible");
  reading.textContent = `${clock(one.at_s)}: ${one.running} running, ${one.target} asked for, load ${one.load.toFixed(2)}`;
}

function steps(points, name, x, y) {
  return points.map((point, at) => {
    const px = x(point.at_s).toFixed(1);
    const py = y(point[name]).toFixed(1);
    return at ? `H${px}V${py}` : `M${px},${py}`;
  }).join("");
}

function grid(most, y) {
  const every = Math.max(1, Math.ceil(most / 4));
  const lines = [];
  for (let value = 0; value <= most; value += every) {
    lines.push(svg("line", { class: "grid", x1: PAD.left, x2: WIDTH - PAD.right, y1: y(value), y2: y(value) }), text(PAD.left - 6, y(value) + 3.5, String(value), "end"));
  }
  return lines;
}

function text(x, y, words, anchor) {
  return svg("text", { x, y, "text-anchor": anchor }, document.createTextNode(words));
}

function spoken(points) {
  const last = points.at(-1);
  return `Over ${span(last.at_s - points[0].at_s)}: now ${last.running} running, ${last.target} asked for`;
}

function list(changes) {
  return h("ol", { class: "changes" }, changes.slice(0, LISTED).map((change) =>
    h("li", {}, h("time", { title: moment(change.at_s) }, clock(change.at_s)),
      h("strong", { class: change.granted > change.was ? "up" : "down" }, `${change.was} → ${change.granted}`), h("span", {}, change.reason))));
}
