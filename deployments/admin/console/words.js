// Numbers as people read them.

export const NOTHING = "–";

export function milliseconds(ms) {
  if (ms === null || ms === undefined) return NOTHING;
  if (ms < 1) return `${ms.toFixed(2)} ms`;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 120000) return `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
  return `${(ms / 60000).toFixed(1)} min`;
}

export function count(value) {
  if (value === null || value === undefined) return NOTHING;
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)}M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(1)}k`;
  return Math.round(value).toLocaleString("en");
}

export function rate(value) {
  if (value === null || value === undefined) return NOTHING;
  if (value === 0) return "0";
  return value < 10 ? value.toFixed(1) : count(value);
}

export function percent(share) {
  if (share === null || share === undefined) return NOTHING;
  const value = 100 * share;
  return `${value > 99 && value < 100 ? value.toFixed(1) : Math.round(value)} %`;
}

export function clock(atS) {
  return new Date(atS * 1000).toLocaleTimeString("en-GB");
}

export function moment(atS) {
  return new Date(atS * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}

export function span(seconds) {
  if (seconds < 100) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export const spaced = (name) => name.replaceAll("_", " ");
