// A grid of small spectra: the anomalies, a class or a selection, ranked by a column.

import * as api from "./api.js";
import { fillColumnSelect } from "./columns.js";
import { $, make, number } from "./dom.js";
import { cssColor } from "./theme.js";

const PAGE = 24; // small spectra of a page
const [WIDTH, HEIGHT] = [200, 92]; // of a small spectrum [CSS pixel]

export class Grid extends EventTarget {
  // Fires "open" with a row, and "change" when other spectra are listed. `rowsOf`: the rows of "selection" or "shown".
  constructor(table, legend, rowsOf) {
    super();
    Object.assign(this, { table, legend, rowsOf, rows: [], page: 0, openRow: -1 });
    const sources = [["all", "all spectra"], ["selection", "the selection"], ["shown", "spectra shown on the map"],
      ...table.categories("cluster_label").map(([code, name]) => [`class:${code}`, name])];
    $("grid-source").replaceChildren(...sources.map(([value, textContent]) => make("option", { value, textContent })));
    const columns = [...table.columns.values()].filter((column) => column.value_type === "number");
    const first = ["anomaly_score", "cluster_prob", "snr", "z"];
    fillColumnSelect($("grid-rank"), table, { columns, first, selected: "anomaly_score", label: "rank" });
    for (const id of ["grid-source", "grid-rank", "grid-ascending"]) $(id).addEventListener("change", () => this.refresh());
    $("grid-previous").addEventListener("click", () => this.turn(-1));
    $("grid-next").addEventListener("click", () => this.turn(1));
    document.addEventListener("theme", () => this.isVisible && this.draw());
  }

  get isVisible() {
    return !$("grid").hidden;
  }

  // As text for links: source and rank, the latter with "-" before it if the lowest come first.
  get state() {
    return `${$("grid-source").value},${$("grid-ascending").checked ? "-" : ""}${$("grid-rank").value}`;
  }

  set state(text) {
    const [source, rank = ""] = text.split(",");
    $("grid-source").value = source;
    $("grid-ascending").checked = rank.startsWith("-");
    if (this.table.columns.has(rank.replace(/^-/, ""))) $("grid-rank").value = rank.replace(/^-/, "");
  }

  // Lists the rows of the source in their order, and shows the first page.
  async refresh() {
    if (!this.isVisible) return;
    const refresh = (this.latestRefresh = {});
    const rows = this.sourceRows($("grid-source").value);
    const values = await this.table.values($("grid-rank").value);
    if (refresh !== this.latestRefresh) return; // the rows have changed in the meantime
    const sign = $("grid-ascending").checked ? 1 : -1;
    const key = (row) => (Number.isFinite(values[row]) ? sign * values[row] : Infinity);
    this.rows = Array.from(rows).sort((a, b) => key(a) - key(b) || a - b);
    this.ranked = values;
    this.page = 0;
    await this.draw();
    this.dispatchEvent(new Event("change"));
  }

  sourceRows(source) {
    if (source === "all") return Array.from({ length: this.table.n }, (_, row) => row);
    if (source === "selection" || source === "shown") return this.rowsOf(source);
    const label = Number(source.split(":")[1]);
    return Array.from(this.table.classes.keys()).filter((row) => this.table.classes[row] === label);
  }

  turn(by) {
    this.page = Math.min(Math.max(this.page + by, 0), Math.max(Math.ceil(this.rows.length / PAGE) - 1, 0));
    this.draw();
  }

  async draw() {
    const { page } = this;
    const draw = (this.latestDraw = {});
    const rows = this.rows.slice(page * PAGE, (page + 1) * PAGE);
    const last = page * PAGE + rows.length;
    $("grid-count").textContent = rows.length ? `${page * PAGE + 1}–${last} of ${this.rows.length.toLocaleString("en")}` : "no spectra";
    $("grid-previous").disabled = page === 0;
    $("grid-next").disabled = last >= this.rows.length;
    const ids = await this.table.objectIds();
    const spectra = rows.length ? await api.floats(`spectra?rows=${rows.join(",")}`) : new Float32Array();
    if (draw !== this.latestDraw) return; // other spectra were shown in the meantime
    const size = spectra.length / (rows.length || 1);
    $("grid-cells").replaceChildren(...rows.map((row, i) => this.cell(row, ids[row], spectra.subarray(i * size, (i + 1) * size))));
    $("grid").dataset.painted = rows.join(",");
  }

  cell(row, id, spectrum) {
    const ratio = window.devicePixelRatio || 1;
    const canvas = make("canvas", { width: WIDTH * ratio, height: HEIGHT * ratio });
    canvas.getContext("2d").scale(ratio, ratio);
    drawSmall(canvas.getContext("2d"), spectrum, this.table.catalog.colors.model);
    const button = make("button", { type: "button", className: "cell", title: id },
      canvas, make("span", { className: "cell-name" }, make("i", { className: "dot", style: { background: this.legend.classColor(row) } }),
        make("span", { className: "id", textContent: id }), make("span", { className: "n", textContent: number(this.ranked[row], 3) })));
    button.dataset.row = row;
    button.setAttribute("aria-pressed", String(row === this.openRow));
    button.addEventListener("click", () => this.dispatchEvent(new CustomEvent("open", { detail: row })));
    return make("li", {}, button);
  }

  // Marks the open spectrum, and turns to its page if it is listed.
  mark(row) {
    this.openRow = row;
    const index = this.isVisible ? this.rows.indexOf(row) : -1;
    const page = Math.floor(index / PAGE);
    if (index >= 0 && page !== this.page) this.turn(page - this.page);
    for (const button of $("grid-cells").querySelectorAll(".cell")) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.row) === row));
    }
  }
}

// Flux and reconstruction in bins, [flux…, reconstruction…].
function drawSmall(context, spectrum, modelColor) {
  const n = spectrum.length / 2;
  const [flux, model] = [spectrum.subarray(0, n), spectrum.subarray(n)];
  const covered = Array.from(flux.keys()).filter((i) => Number.isFinite(flux[i]));
  if (!covered.length) return;
  const [first, last] = [covered[0], covered.at(-1)];
  const sorted = covered.flatMap((i) => [flux[i], model[i]]).sort((a, b) => a - b);
  const [low, high] = [sorted[Math.floor(0.01 * (sorted.length - 1))], sorted[Math.ceil(0.99 * (sorted.length - 1))]];
  const x = (i) => ((i - first) / Math.max(last - first, 1)) * (WIDTH - 4) + 2;
  const y = (value) => HEIGHT - 4 - ((value - low) / (high - low || 1)) * (HEIGHT - 8);
  const curve = (values, color, width) => {
    context.beginPath();
    context.strokeStyle = color;
    context.lineWidth = width;
    let pen = false;
    for (let i = first; i <= last; i++) {
      if (Number.isFinite(values[i])) context[pen ? "lineTo" : "moveTo"](x(i), y(values[i]));
      pen = Number.isFinite(values[i]);
    }
    context.stroke();
  };
  curve(flux, cssColor("--data"), 0.8);
  curve(model, modelColor, 1.2);
}
