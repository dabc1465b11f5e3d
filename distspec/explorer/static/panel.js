// The open spectrum: its curves, its row of the catalog, its annotations and the most similar spectra.

import * as api from "./api.js";
import { groupColumns, matches } from "./columns.js";
import { $, make, number } from "./dom.js";
import { saveSpectrum } from "./download.js";
import { showBars, showReasons } from "./explanation.js";
import { Lines } from "./lines.js";
import { Redshift } from "./redshift.js";
import { SpectrumChart } from "./spectrum.js";

const LISTED_RANKS = 200; // anomaly ranks up to this one are shown
const EXPLANATION_DELAY = 200; // from the painting of a spectrum until its explanation is requested [ms]
const OVERLAY_COLORS = ["#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d00"];

export class Panel extends EventTarget {
  // Fires "open" with a row when a listed spectrum is clicked, "shown" with the object that is shown, and "view".
  constructor(table, legend) {
    super();
    Object.assign(this, { table, legend, row: -1, overlays: [], frame: "rest", width: 1 });
    this.lines = new Lines(table.catalog);
    this.lines.addEventListener("change", () => {
      this.chart?.setLines(this.lines.lines, this.lines.stretch);
      this.fireView();
    });
    this.redshift = new Redshift();
    this.redshift.addEventListener("choose", (event) => this.lines.setTrial(event.detail));
    $("frame").addEventListener("change", (event) => this.setFrame(event.target.value));
    $("smooth").addEventListener("input", () => this.setWidth($("smooth").valueAsNumber));
    $("pin").addEventListener("click", () => this.pin(this.row));
    $("values-search").addEventListener("input", () => this.showValues());
    for (const button of $("save").querySelectorAll("button")) {
      button.addEventListener("click", () => saveSpectrum(this, button.value).catch((error) => this.fail(error)));
    }
    $("top-anomalies").replaceChildren(
      ...table.catalog.top_anomalies.map((summary) => this.entry(summary, `${number(summary.anomaly_score, 3)} dex`)),
    );
  }

  setFrame(frame) {
    this.frame = frame;
    document.querySelector(`[name=frame][value=${frame}]`).checked = true;
    this.chart?.set({ frame });
    this.fireView();
  }

  // Smooths over a number of pixels.
  setWidth(width) {
    this.width = width;
    $("smooth").value = width;
    $("smooth-width").textContent = width === 1 ? "off" : `${width} pixels`;
    this.chart?.set({ width });
    this.fireView();
  }

  fireView() {
    this.dispatchEvent(new Event("view"));
  }

  fail(error) {
    this.dispatchEvent(new CustomEvent("failed", { detail: error.message }));
  }

  async load(row) {
    const [curves, object] = await Promise.all([api.floats(`spectrum/${row}`), api.json(`object/${row}`)]);
    const n = curves.length / 3;
    const [flux, ivar, recon] = [0, 1, 2].map((i) => curves.subarray(i * n, (i + 1) * n));
    const { z, norm, object_id: name } = object.values;
    return { object, spectrum: { flux, ivar, recon, z, norm, name } };
  }

  async open(row) {
    this.row = row;
    clearTimeout(this.explanationTimer);
    const { object, spectrum } = await this.load(row);
    if (row !== this.row) return; // another spectrum was opened in the meantime
    $("empty").hidden = true;
    $("object").hidden = false;
    this.chart ??= new SpectrumChart($("chart"), $("residual"), this.table.catalog);
    Object.assign(this.chart, { frame: this.frame, width: this.width, overlays: this.overlays });
    this.lines.setRedshift(spectrum.z);
    this.chart.show(spectrum);
    this.describe(object);
    this.dispatchEvent(new CustomEvent("shown", { detail: object }));
    requestAnimationFrame(() => {
      performance.mark(`spectrum ${row}`);
      $("panel").dataset.painted = String(row);
      // The server decodes the spectrum again for it: not needed of spectra that one only steps through.
      if (row === this.row) this.explanationTimer = setTimeout(() => this.explain(row), EXPLANATION_DELAY);
    });
  }

  async explain(row) {
    try {
      const explanation = await api.json(`explanation/${row}`);
      if (row !== this.row) return;
      showReasons(explanation);
      this.redshift.plot(explanation.pdf_z, explanation.pdf_probability);
    } catch (error) {
      this.fail(error);
    }
  }

  // Keeps a spectrum as an overlay of the others.
  async pin(row) {
    if (row < 0 || this.overlays.some((other) => other.row === row)) return;
    const used = this.overlays.map((other) => other.color);
    const color = OVERLAY_COLORS.find((candidate) => !used.includes(candidate));
    if (!color) {
      this.fail(new Error(`at most ${OVERLAY_COLORS.length} spectra are overlaid`));
      return;
    }
    const { spectrum } = await this.load(row);
    this.setOverlays([...this.overlays, { ...spectrum, row, color }]);
  }

  setOverlays(overlays) {
    this.overlays = overlays;
    $("overlays").replaceChildren(...overlays.map((other) => {
      const remove = make("button", { type: "button", textContent: "×" });
      remove.setAttribute("aria-label", `Remove ${other.name}`);
      remove.addEventListener("click", () => this.setOverlays(this.overlays.filter((item) => item !== other)));
      return make("li", {}, make("i", { className: "dot", style: { background: other.color } }), make("span", { textContent: other.name }), remove);
    }));
    this.chart?.set({ overlays });
    this.fireView();
  }

  describe({ values, archive_url, neighbors, annotations }) {
    this.values = values;
    this.redshift.show(values);
    $("name").textContent = values.object_id;
    const hasLink = archive_url.startsWith("https://");
    $("archive-link").hidden = !hasLink;
    if (hasLink) $("archive-link").href = archive_url;
    const rank = values.anomaly_rank <= LISTED_RANKS ? ` (rank ${values.anomaly_rank})` : "";
    const galaxyType = values.galaxy_type && values.galaxy_type !== "unknown"
      ? `${values.galaxy_type} (confidence ${number(values.galaxy_type_confidence, 2)})` : "";
    const parts = [
      values.z === 0 ? "" : `z = ${number(values.z, 5)}`,
      `S/N ${number(values.snr, 3)} per pixel`,
      this.table.className(values.cluster_label),
      galaxyType,
      `anomaly score ${number(values.anomaly_score, 3)} dex${rank}`,
      `stability ${number(values.cluster_stability, 2)}`,
    ];
    $("brief").textContent = parts.filter(Boolean).join("  ·  ");
    $("galaxy-type-reason").textContent = values.galaxy_type_reason ?? "";
    // Archives without rules have no confidences, and nothing to say about types.
    $("galaxy-type-reason").hidden = !values.galaxy_type_reason || values.galaxy_type_confidence === null;
    for (const id of ["reason", "bad-pixels"]) $(id).textContent = ""; // until they are explained
    showBars(this.table, values);
    this.listAnnotations(annotations);
    $("neighbors").replaceChildren(...neighbors.map((summary) => this.entry(summary, number(summary.ln_bayes_factor, 3))));
    this.showValues();
  }

  // All columns of the row in their groups, if they match the search.
  showValues() {
    const text = $("values-search").value.trim();
    const columns = Object.keys(this.values).map((name) => this.table.columns.get(name)).filter((column) => column && matches(column, text));
    const row = ({ name, unit, description }) => make("tr", {}, make("th", { scope: "row", textContent: name, title: description }),
      make("td", { textContent: number(this.values[name], 6) }), make("td", { textContent: unit }));
    for (const body of [...$("values").tBodies]) body.remove();
    $("values").append(...groupColumns(this.table, columns).map(([group, members]) => make("tbody", {},
      make("tr", { className: "group" }, make("th", { colSpan: 3, scope: "rowgroup", textContent: group })), ...members.map(row))));
  }

  // A list item that opens another spectrum.
  entry({ row, object_id, z }, text) {
    const button = make(
      "button", { type: "button", className: "entry" },
      make("i", { className: "dot", style: { background: this.legend.classColor(row) } }),
      make("span", { textContent: object_id, className: "id" }),
      make("span", { className: "n", textContent: `${z ? `z ${number(z, 3)}  ` : ""}${text}` }),
    );
    button.addEventListener("click", () => this.dispatchEvent(new CustomEvent("open", { detail: row })));
    return make("li", {}, button);
  }

  listAnnotations(annotations) {
    $("annotations").replaceChildren(...annotations.map(({ annotator, label, when, note }) =>
      make("li", {}, make("b", { textContent: label }), ` — ${annotator || "unknown annotator"}, ${when}${note ? `: ${note}` : ""}`)));
  }

  async refreshAnnotations() {
    if (this.row < 0) return;
    const { row } = this;
    const { annotations } = await api.json(`object/${row}`);
    if (row === this.row) this.listAnnotations(annotations);
  }
}
