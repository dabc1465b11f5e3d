// The axes of the map: the UMAP embedding, any two columns, or the sky.

import { fillColumnSelect } from "./columns.js";
import { $, number, ticks } from "./dom.js";
import { fitProjection } from "./projections.js";

const EDGE = 0.002; // fraction of the values beyond either end of the initial view
const UMAP = ["umap_0", "umap_1"];

export class Axes extends EventTarget {
  // Fires "change" with {x, y, box, frame}: map coordinates, the initial view, and what draws the axes.
  constructor(table) {
    super();
    this.table = table;
    this.kind = "umap";
    const columns = [...table.columns.values()].filter((column) => column.value_type === "number");
    const selected = { x: "z", y: "anomaly_score" };
    for (const axis of ["x", "y"]) {
      const first = ["z", "snr", "anomaly_score", "ra", "dec", ...UMAP];
      fillColumnSelect($(`axis-${axis}`), table, { columns, first, selected: selected[axis], label: `axis ${axis}` });
      for (const id of [`axis-${axis}`, `log-${axis}`]) $(id).addEventListener("change", () => this.show("columns"));
    }
    const hasSky = ["ra", "dec"].every((name) => table.columns.has(name));
    $("axes").querySelector("[value=sky]").disabled = !hasSky;
    $("axes").addEventListener("change", () => this.show($("axes").value));
  }

  // As text for links: "umap", "sky", or "x,y" with "log:" before a logarithmic axis.
  get state() {
    if (this.kind !== "columns") return this.kind;
    return ["x", "y"].map((axis) => ($(`log-${axis}`).checked ? "log:" : "") + $(`axis-${axis}`).value).join(",");
  }

  set state(text) {
    if (text === "umap" || text === "sky") {
      this.show(text);
      return;
    }
    const names = text.split(",");
    ["x", "y"].forEach((axis, i) => {
      $(`log-${axis}`).checked = names[i]?.startsWith("log:");
      $(`axis-${axis}`).value = names[i]?.replace("log:", "");
    });
    this.show("columns");
  }

  async show(kind) {
    this.kind = kind;
    $("axes").value = kind;
    $("axes-columns").hidden = kind !== "columns";
    const found = kind === "umap" ? this.umap() : kind === "sky" ? await this.sky() : await this.columns();
    if (found && kind === this.kind) this.dispatchEvent(new CustomEvent("change", { detail: found }));
  }

  umap() {
    const { x, y } = this.table;
    return { x, y, box: null, frame: { x: { label: "UMAP 1" }, y: { label: "UMAP 2" } } };
  }

  async sky() {
    const [ra, dec] = await Promise.all(["ra", "dec"].map((name) => this.table.values(name)));
    const sky = fitProjection(ra, dec);
    const [x, y] = [new Float32Array(ra.length), new Float32Array(ra.length)];
    for (let i = 0; i < x.length; i++) [x[i], y[i]] = sky.forward(ra[i], dec[i]);
    return { x, y, box: null, frame: { sky, x: { label: "right ascension [deg]" }, y: { label: "declination [deg]" } } };
  }

  async columns() {
    const names = ["x", "y"].map((axis) => $(`axis-${axis}`).value);
    if (!names.every((name) => this.table.columns.has(name))) return null;
    const values = await Promise.all(names.map((name) => this.table.values(name)));
    if (names.some((name, i) => name !== $(`axis-${"xy"[i]}`).value)) return null; // chosen anew in the meantime
    const { clientWidth, clientHeight } = $("map");
    const sizes = [clientWidth / Math.max(clientHeight, 1), 1];
    const [x, y] = ["x", "y"].map((axis, i) =>
      scaleColumn(values[i], this.table.columns.get(names[i]), $(`log-${axis}`).checked, sizes[i]));
    return { x: x.values, y: y.values, box: [0, sizes[0], 0, 1], frame: { x, y } };
  }
}

// A column in map coordinates from 0 to size, and the functions between both.
function scaleColumn(values, { name, unit }, log, size) {
  const transform = log ? (v) => (v > 0 ? Math.log10(v) : NaN) : (v) => v;
  const [low, high] = limits(values, transform);
  const scaled = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) scaled[i] = (size * (transform(values[i]) - low)) / (high - low);
  return {
    values: scaled,
    label: `${name}${unit ? ` [${unit}]` : ""}`,
    toMap: (value) => (size * (transform(value) - low)) / (high - low),
    ticks(from, to, n) {
      const [a, b] = [from, to].map((u) => low + (u / size) * (high - low));
      if (!log) return ticks(a, b, n);
      return b - a > 1.5 ? ticks(Math.ceil(a), b, Math.min(n, Math.floor(b - a) + 1)).map((t) => 10 ** t) : ticks(10 ** a, 10 ** b, n);
    },
  };
}

function limits(values, transform) {
  const finite = Float64Array.from(values, transform).filter(Number.isFinite).sort();
  if (!finite.length) return [0, 1];
  const [low, high] = [finite[Math.floor(EDGE * (finite.length - 1))], finite[Math.ceil((1 - EDGE) * (finite.length - 1))]];
  return low < high ? [low, high] : [low - 0.5, high + 0.5];
}

// The marks of axes within a view: {lines: [[u, v], …], texts: [{u, v, text, align}]} on the screen.
export function frameMarks(frame, map) {
  if (frame.sky) return skyMarks(frame.sky, map);
  if (!frame.x.toMap) return { lines: [], texts: [] };
  const { width, height } = map.view;
  const [[left, bottom], [right, top]] = [map.toMap(0, height), map.toMap(width, 0)];
  const marks = { lines: [], texts: [] };
  for (const value of frame.x.ticks(left, right, Math.max(2, Math.floor(width / 90)))) {
    const [u] = map.toScreen(frame.x.toMap(value), 0);
    if (u < 56 || u > width - 16) continue;
    marks.lines.push([[u, height], [u, height - 5]]);
    marks.texts.push({ u, v: height - 22, text: number(value), align: "center" });
  }
  for (const value of frame.y.ticks(bottom, top, Math.max(2, Math.floor(height / 60)))) {
    const [, v] = map.toScreen(0, frame.y.toMap(value));
    if (v < 16 || v > height - 34) continue;
    marks.lines.push([[0, v], [5, v]]);
    marks.texts.push({ u: 24, v, text: number(value), align: "left" });
  }
  return marks;
}

// Meridians and parallels at round coordinates of the part of the sky that is in view.
function skyMarks(sky, map) {
  const { width, height } = map.view;
  const seen = [];
  for (let i = 0; i <= 8; i++) for (let j = 0; j <= 8; j++) {
    const position = sky.inverse(...map.toMap((i / 8) * width, (j / 8) * height));
    if (position) seen.push(position);
  }
  if (!seen.length) return { lines: [], texts: [] };
  const [ra, dec] = [0, 1].map((k) => seen.map((position) => position[k]));
  const [west, east] = sky.whole && map.view.scale <= 1.5 * map.fullScale ? [ra0(sky) - 180, ra0(sky) + 180] : [Math.min(...ra), Math.max(...ra)];
  const [low, high] = [Math.min(...dec), Math.max(...dec)];
  const all = sky.whole && map.view.scale <= 1.5 * map.fullScale;
  const meridians = all ? ticks(west, east, 12) : ticks(west, east, 6);
  const parallels = all ? [-60, -30, 0, 30, 60] : ticks(low, high, 5);
  const along = (n, from, to, point) => Array.from({ length: n + 1 }, (_, i) =>
    map.toScreen(...sky.forward(...point(from + ((to - from) * i) / n))));
  const [south, north] = all ? [-90, 90] : [low, high];
  const marks = { lines: [], texts: [] };
  const inner = 1e-6; // keeps the two edges of the whole sky apart
  for (const value of meridians) {
    marks.lines.push(along(24, south, north, (d) => [Math.min(Math.max(value, west + inner), east - inner), d]));
    const [u, v] = map.toScreen(...sky.forward(value, all ? 0 : (low + high) / 2));
    marks.texts.push({ u: u + 3, v: all ? v - 8 : height - 22, text: `${number(((value % 360) + 360) % 360, 7)}°`, align: "left" });
  }
  for (const value of parallels) {
    marks.lines.push(along(48, west + inner, east - inner, (a) => [a, value]));
    const [, v] = map.toScreen(...sky.forward(all ? ra0(sky) : (west + east) / 2, value));
    marks.texts.push({ u: 24, v: v - 7, text: `${number(value, 7)}°`, align: "left" });
  }
  return marks;
}

const ra0 = (sky) => sky.inverse(0, 0)[0];
