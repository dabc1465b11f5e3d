// Why the open spectrum is anomalous, its bad pixels, and the probabilities of the classes, as words and bars.

import { $, make, number } from "./dom.js";

const MAX_CLASSES = 6;
const MIN_PROBABILITY = 0.01;

// A list of bars: [{label, value, title, limit}]; bars at or above the limit are marked.
function bars(title, items, scale, unit) {
  const rows = items.map(({ label, value, description, isHigh }) => {
    const width = `${Math.min(Math.max(value / scale, 0), 1) * 100}%`;
    const bar = make("span", { className: isHigh ? "bar high" : "bar", style: { width } });
    return make("li", { title: description ?? "" },
      make("span", { className: "bar-label", textContent: label }),
      make("span", { className: "bar-track" }, bar),
      make("span", { className: "n", textContent: number(value, 3) }));
  });
  return make("section", {}, make("h3", { textContent: `${title}${unit ? ` [${unit}]` : ""}` }), make("ul", { className: "bars" }, ...rows));
}

function anomalyBars(table, values) {
  const items = table.catalog.anomaly_components.filter((name) => Number.isFinite(values[name])).map((name) => ({
    label: name.replace("anomaly_", ""), value: values[name], description: table.columns.get(name).description, isHigh: values[name] >= 1.5,
  }));
  return items.length ? bars("Components of the anomaly score", items, 4, "dex") : null;
}

function badPixelBars(table, values) {
  const limits = Object.entries(table.catalog.bad_pixel_limits).filter(([name]) => Number.isFinite(values[name]));
  const items = limits.map(([name, limit]) => ({
    label: name.replace("artefact_", ""), value: values[name] / limit, isHigh: values[name] >= limit,
    description: `${table.columns.get(name).description} Flagged from ${number(limit)} on; here ${number(values[name])}.`,
  }));
  return items.length ? bars("Bad pixels, in units of the threshold", items, 2, "") : null;
}

function classBars(table, values) {
  const items = Object.entries(values)
    .map(([name, value]) => ({ code: name.match(/^cluster_prob_(\d+)$/)?.[1], value }))
    .filter(({ code, value }) => code !== undefined && value >= MIN_PROBABILITY)
    .sort((a, b) => b.value - a.value).slice(0, MAX_CLASSES)
    .map(({ code, value }) => ({ label: table.className(Number(code)), value, isHigh: Number(code) === values.cluster_label }));
  return items.length ? bars("Probability of the classes", items, 1, "") : null;
}

export function showBars(table, values) {
  $("bars").replaceChildren(...[anomalyBars, badPixelBars, classBars].map((build) => build(table, values)).filter(Boolean));
}

export function showReasons({ reason, bad_pixels: badPixels }) {
  $("reason").textContent = reason ? `Anomaly score: ${reason}.` : "";
  $("bad-pixels").textContent = badPixels ? `Bad pixels: ${badPixels}.` : "No bad-pixel statistic exceeds its threshold.";
}
