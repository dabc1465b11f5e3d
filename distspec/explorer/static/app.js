// The page: loads the catalog, creates its parts, and connects their events.

import * as api from "./api.js";
import { $, count, make, number } from "./dom.js";
import { Filters } from "./filters.js";
import { Labels } from "./labels.js";
import { Legend } from "./legend.js";
import { ScatterMap } from "./map.js";
import { Panel } from "./panel.js";
import { WebGLUnavailableError } from "./points.js";
import { Table } from "./table.js";

const MAX_LISTED = 100; // spectra of a selection that are listed
const NO_WEBGL = "The map needs WebGL2, which this browser does not provide. Turn on hardware acceleration in its settings, "
  + "or use a current Firefox, Chrome, Edge or Safari. `distspec query` works without it.";

async function start() {
  const [catalog, coordinates] = await Promise.all([api.json("catalog"), api.floats("map")]);
  const table = new Table(catalog, coordinates);
  $("run").textContent = `${count(catalog.n)} · run ${catalog.run_id} · ${catalog.root}`;
  const map = new ScatterMap($("map"), table.x, table.y);
  const legend = new Legend(table);
  legend.addEventListener("colors", ({ detail }) => map.setColors(detail));
  await legend.refresh();
  const page = new Page(table, map, legend);
  page.filter();
  await new Promise(requestAnimationFrame);
  await map.points.drawn();
  performance.mark("map");
  $("map").dataset.painted = "true";
  await table.refreshAnnotations();
  page.objectIds = await table.objectIds();
}

class Page {
  constructor(table, map, legend) {
    Object.assign(this, { table, map, legend, objectIds: null, hovered: -1, neighbors: [], selected: new Uint32Array() });
    this.filters = new Filters(table);
    this.panel = new Panel(table, legend);
    this.labels = new Labels(table);
    this.labels.rows = () => (this.target === "selection" ? this.selected : this.panel.row < 0 ? [] : [this.panel.row]);
    this.filters.addEventListener("change", () => this.filter());
    legend.addEventListener("visibility", () => this.filter());
    this.labels.addEventListener("annotated", () => this.showAnnotations());
    this.panel.addEventListener("open", ({ detail }) => this.open(detail));
    this.panel.addEventListener("shown", ({ detail }) => {
      this.neighbors = detail.neighbors.map((summary) => summary.row);
      this.highlight();
    });
    map.addEventListener("click", ({ detail }) => detail >= 0 && this.open(detail));
    map.addEventListener("hover", ({ detail }) => this.hover(detail));
    map.addEventListener("lasso", ({ detail }) => {
      this.setLasso(false);
      this.select(detail);
      if (detail.length) this.setTarget("selection");
    });
    $("lasso").addEventListener("click", () => this.setLasso(!map.lassoing));
    $("clear").addEventListener("click", () => this.select(new Uint32Array()));
    $("export").addEventListener("click", () => this.export());
    $("search").addEventListener("submit", (event) => {
      event.preventDefault();
      this.find($("query").value);
    });
    $("help-open").addEventListener("click", () => $("help").showModal());
    for (const button of document.querySelectorAll("[data-zoom]")) {
      button.addEventListener("click", () => this.zoom(Number(button.dataset.zoom)));
    }
    document.addEventListener("keydown", (event) => this.press(event));
    $("points").setAttribute(
      "aria-label",
      `UMAP embedding of the latents of ${count(table.n)}. Use Find to open a spectrum by name.`,
    );
  }

  // What keys label: "open" or "selection".
  get target() {
    return document.querySelector("[name=target]:checked").value;
  }

  setTarget(target) {
    document.querySelector(`[name=target][value=${target}]`).checked = true;
  }

  filter() {
    const tests = [...this.filters.tests(), ...[this.legend.test()].filter(Boolean)];
    const visible = new Uint8Array(this.table.n).fill(1);
    let n = this.table.n;
    if (tests.length) {
      n = 0;
      for (let row = 0; row < visible.length; row++) n += visible[row] = tests.every((test) => test(row)) ? 1 : 0;
    }
    $("shown").textContent = tests.length ? `${n.toLocaleString("en")} of ${this.table.n.toLocaleString("en")} shown` : "";
    this.map.show(visible, this.selected);
  }

  async open(row) {
    this.setTarget("open");
    this.neighbors = [];
    this.openRow = row;
    this.highlight();
    this.map.goTo(row);
    try {
      await this.panel.open(row);
    } catch (error) {
      this.labels.showStatus(`Not shown: ${error.message}`);
    }
  }

  // Draws rings around the neighbors, the open spectrum and the one under the pointer.
  highlight() {
    const rings = this.neighbors.map((row) => ({ row, radius: 4, color: "#777", width: 1 }));
    if (this.openRow !== undefined) rings.push({ row: this.openRow, radius: 7, color: "#d55e00", width: 2 });
    if (this.hovered >= 0) rings.push({ row: this.hovered, radius: 5, color: "#222", width: 1.2 });
    this.map.setRings(rings);
  }

  hover({ row, position }) {
    const tooltip = $("tooltip");
    if (row !== this.hovered) {
      this.hovered = row;
      this.highlight();
    }
    tooltip.hidden = row < 0;
    if (row < 0) return;
    const value = this.legend.values[row];
    const { entries, name } = this.legend;
    tooltip.replaceChildren(
      make("b", { textContent: this.objectIds ? this.objectIds[row] : `row ${row}` }),
      make("span", { textContent: entries ? entries.get(value)?.label ?? "no value" : `${name} ${number(value)}` }),
    );
    const { width, height } = this.map.view;
    const [u, v] = position;
    const above = v + 18 + tooltip.offsetHeight > height;
    tooltip.style.setProperty("left", `${Math.min(u + 14, width - tooltip.offsetWidth - 6)}px`);
    tooltip.style.setProperty("top", `${above ? v - tooltip.offsetHeight - 12 : v + 18}px`);
  }

  setLasso(on) {
    this.map.lassoing = on;
    $("lasso").setAttribute("aria-pressed", String(on));
    $("map").classList.toggle("lassoing", on);
  }

  select(rows, description = "") {
    this.selected = rows;
    for (const id of ["clear", "export"]) $(id).disabled = !rows.length;
    document.querySelector("[name=target][value=selection]").disabled = !rows.length;
    if (!rows.length) this.setTarget("open");
    const text = `${count(rows.length)}${description && `: ${description}`}`;
    $("selected").textContent = rows.length || description ? text : "None. Draw around points, or find some.";
    this.listSelected();
    this.map.show(this.map.visible, rows);
  }

  async listSelected() {
    const rows = this.selected;
    const ids = await this.table.objectIds();
    if (rows !== this.selected) return;
    const { labels, marks } = this.table.annotations;
    const items = Array.from(rows.subarray(0, MAX_LISTED), (row) => {
      const annotation = [labels.get(row), marks.get(row)].filter(Boolean).join(", ");
      const button = make("button", { type: "button", className: "entry" },
        make("i", { className: "dot", style: { background: this.legend.classColor(row) } }),
        make("span", { textContent: ids[row], className: "id" }), make("span", { className: "n", textContent: annotation }));
      button.addEventListener("click", () => this.open(row));
      return make("li", {}, button);
    });
    const more = rows.length - MAX_LISTED;
    if (more > 0) items.push(make("li", { className: "small", textContent: `… and ${count(more)} more` }));
    $("selection-list").replaceChildren(...items);
  }

  async find(query) {
    if (!query.trim()) return;
    try {
      const { interpretation, total, rows } = await api.json(`find?text=${encodeURIComponent(query)}`);
      const limited = total > rows.length ? `, the first of ${total.toLocaleString("en")}` : "";
      this.select(Uint32Array.from(rows), interpretation + limited);
      this.labels.showStatus(total ? "" : `Nothing found: ${interpretation}.`);
      if (rows.length) await this.open(rows[0]);
    } catch (error) {
      this.labels.showStatus(`Search failed: ${error.message}`);
    }
  }

  async export() {
    try {
      const response = await api.send("export", { rows: Array.from(this.selected) });
      const url = URL.createObjectURL(await response.blob());
      make("a", { href: url, download: `distspec-${this.table.catalog.run_id}-selection.csv` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
      this.labels.showStatus(`Exported ${count(this.selected.length)}.`);
    } catch (error) {
      this.labels.showStatus(`Not exported: ${error.message}`);
    }
  }

  async showAnnotations() {
    this.panel.refreshAnnotations();
    this.listSelected();
    if (this.table.columns.get(this.legend.name).value_type === "annotation") {
      await this.legend.refresh();
      this.filter();
    }
  }

  // Opens the next (1) or previous (-1) spectrum of the selection.
  step(by) {
    const rows = Array.from(this.selected);
    if (!rows.length) return;
    const index = rows.indexOf(this.panel.row);
    this.open(rows[index < 0 ? 0 : (index + by + rows.length) % rows.length]);
  }

  zoom(factor) {
    if (factor) this.map.zoom(factor);
    else this.map.showAll();
  }

  press(event) {
    const typing = event.target.closest("input:not([type=radio]), textarea, select, dialog");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = {
      "?": () => $("help").showModal(),
      "/": () => $("query").focus(),
      c: () => $("color").focus(),
      l: () => this.setLasso(!this.map.lassoing),
      n: () => this.step(1),
      p: () => this.step(-1),
      f: () => document.querySelector("[name=frame]:not(:checked)").click(),
      "+": () => this.zoom(1.6),
      "-": () => this.zoom(0.625),
      0: () => this.zoom(0),
      Escape: () => {
        this.setLasso(false);
        this.select(new Uint32Array());
      },
    };
    if (actions[event.key]) actions[event.key]();
    else if (!this.labels.press(event.key)) return;
    event.preventDefault();
  }
}

start().catch((error) => {
  const isWebGL = error instanceof WebGLUnavailableError;
  $("failure").hidden = false;
  $("failure").textContent = isWebGL
    ? NO_WEBGL
    : `The explorer could not start: ${error.message}. Is \`distspec explore\` still running?`;
  if (!isWebGL) throw error;
});
