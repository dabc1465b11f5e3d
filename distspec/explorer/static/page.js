// The parts of the page and their events: map, grid, panel, filters, selection, labels, and links to a view.

import * as api from "./api.js";
import { Axes } from "./axes.js";
import { $, count, make, number } from "./dom.js";
import { Export } from "./download.js";
import { Filters } from "./filters.js";
import { Grid } from "./grid.js";
import { Labels } from "./labels.js";
import { Panel } from "./panel.js";
import { State } from "./state.js";
import { cssColor } from "./theme.js";

const MAX_LISTED = 100; // spectra of a selection that are listed

export class Page {
  constructor(table, map, legend) {
    Object.assign(this, { table, map, legend, objectIds: null, hovered: -1, neighbors: [], selected: new Uint32Array() });
    this.filters = new Filters(table);
    this.axes = new Axes(table);
    this.state = new State(() => this.collectState());
    this.panel = new Panel(table, legend);
    this.labels = new Labels(table);
    const rowsOf = (which) => (which === "shown" ? this.visibleRows() : this.selected);
    this.grid = new Grid(table, legend, rowsOf);
    this.exporter = new Export(table, rowsOf, (message) => this.labels.showStatus(message));
    this.labels.rows = () => (this.target === "selection" ? this.selected : this.panel.row < 0 ? [] : [this.panel.row]);
    this.filters.addEventListener("change", () => this.filter());
    legend.addEventListener("visibility", () => this.filter());
    this.axes.addEventListener("change", ({ detail }) => this.setAxes(detail));
    this.grid.addEventListener("open", ({ detail }) => this.open(detail));
    for (const part of [legend, this.grid]) {
      for (const name of ["visibility", "change"]) part.addEventListener(name, () => this.state.write());
    }
    this.panel.addEventListener("view", () => this.state.write());
    this.panel.addEventListener("failed", ({ detail }) => this.labels.showStatus(`Failed: ${detail}.`));
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
    for (const view of ["map", "grid"]) $(`view-${view}`).addEventListener("click", () => this.setView(view));
    $("link").addEventListener("click", () => this.copyLink());
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
    this.filters.showCounts(visible);
    if ($("grid-source").value === "shown") this.grid.refresh();
    this.exporter.refresh();
    this.state.write();
  }

  visibleRows() {
    return Array.from(this.map.visible.keys()).filter((row) => this.map.visible[row]);
  }

  setAxes(axes) {
    for (const axis of ["x", "y"]) $("map").querySelector(`.axis.${axis}`).textContent = axes.frame[axis].label;
    this.map.setCoordinates(axes);
    this.state.write();
  }

  // Shows the map or the grid of small spectra.
  setView(view) {
    for (const name of ["map", "grid"]) {
      $(name).hidden = name !== view;
      $(`view-${name}`).setAttribute("aria-pressed", String(name === view));
    }
    this.state.write();
    return view === "grid" ? this.grid.refresh() : undefined;
  }

  async open(row) {
    this.setTarget("open");
    this.grid.mark(row);
    this.state.write();
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
    if (this.hovered >= 0) rings.push({ row: this.hovered, radius: 5, color: cssColor("--data"), width: 1.2 });
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

  // Selects rows; `query` is the search that found them.
  select(rows, description = "", query = "") {
    this.selected = rows;
    this.query = query;
    $("clear").disabled = !rows.length;
    this.exporter.refresh();
    if ($("grid-source").value === "selection") this.grid.refresh();
    this.state.write();
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

  async find(query, opens = true) {
    if (!query.trim()) return;
    try {
      const { interpretation, total, rows } = await api.json(`find?text=${encodeURIComponent(query)}`);
      const limited = total > rows.length ? `, the first of ${total.toLocaleString("en")}` : "";
      this.select(Uint32Array.from(rows), interpretation + limited, query);
      this.labels.showStatus(total ? "" : `Nothing found: ${interpretation}.`);
      if (rows.length && opens) await this.open(rows[0]);
    } catch (error) {
      this.labels.showStatus(`Search failed: ${error.message}`);
    }
  }

  async copyLink() {
    clearTimeout(this.state.timer);
    const link = `${location.href.split("#")[0]}#${new URLSearchParams(this.collectState())}`;
    try {
      await navigator.clipboard.writeText(link);
      this.labels.showStatus("The link to this view is copied; it works while this explorer runs.");
    } catch {
      this.labels.showStatus(link);
    }
  }

  // The view as names and values of a link; what is as at the start is left out.
  collectState() {
    const { legend, panel, axes, grid, filters } = this;
    const id = (row) => this.objectIds?.[row];
    const state = [];
    const add = (name, value, usual) => value !== undefined && value !== usual && state.push([name, value]);
    add("id", id(this.openRow));
    add("color", legend.name, "cluster_label");
    for (const code of legend.visibleCodes) add("only", legend.entries?.get(code)?.label);
    add("axes", axes.state, "umap");
    for (const [name, value] of filters.values()) add("filter", JSON.stringify([name, value]));
    add("find", this.query, "");
    if (grid.isVisible) add("grid", grid.state);
    add("frame", panel.frame, "rest");
    add("smooth", String(panel.width), "1");
    if (!panel.lines.isDefault) add("lines", panel.lines.name);
    if (this.openRow !== undefined && panel.lines.trial !== panel.lines.z) add("line_z", panel.lines.trial?.toFixed(5));
    for (const other of panel.overlays) add("overlay", other.name);
    return state;
  }

  followLinks() {
    return this.state.follow((state) => this.showState(state)).catch((error) =>
      this.labels.showStatus(`The link is not shown: ${error.message}`));
  }

  // Shows the view of a link.
  async showState(state) {
    const rowOf = (id) => this.objectIds.indexOf(id);
    const color = this.table.columns.has(state.get("color")) ? state.get("color") : "cluster_label";
    const labels = state.getAll("only");
    const codes = (this.table.categories(color) ?? []).filter(([, label]) => labels.includes(label)).map(([code]) => code);
    await this.legend.select(color, codes);
    if ((state.get("axes") ?? "umap") !== this.axes.state) this.axes.state = state.get("axes") ?? "umap";
    this.filters.clear();
    for (const [name, value] of state.getAll("filter").map((text) => JSON.parse(text))) {
      if (this.table.columns.has(name)) await this.filters.add(name, value).applied;
    }
    if (state.has("find") && state.get("find") !== this.query) await this.find(state.get("find"), false);
    this.panel.setFrame(state.get("frame") === "observed" ? "observed" : "rest");
    this.panel.setWidth(Number(state.get("smooth") ?? 1));
    if (state.has("grid")) this.grid.state = state.get("grid");
    await this.setView(state.has("grid") ? "grid" : "map");
    this.panel.setOverlays([]);
    for (const row of state.getAll("overlay").map(rowOf)) await this.panel.pin(row);
    if (state.has("id") && rowOf(state.get("id")) >= 0) await this.open(rowOf(state.get("id")));
    if (state.has("lines")) this.panel.lines.name = state.get("lines");
    if (state.has("line_z")) this.panel.lines.setTrial(Number(state.get("line_z")));
    if (state.has("id") && rowOf(state.get("id")) < 0) this.labels.showStatus(`There is no spectrum ${state.get("id")}.`);
  }

  async showAnnotations() {
    this.panel.refreshAnnotations();
    this.listSelected();
    if (this.table.columns.get(this.legend.name).value_type === "annotation") {
      await this.legend.refresh();
      this.filter();
    }
  }

  // Opens the next (1) or previous (-1) spectrum of the grid, or of the selection while the map is shown.
  step(by) {
    const rows = this.grid.isVisible ? this.grid.rows : Array.from(this.selected);
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
      g: () => this.setView(this.grid.isVisible ? "map" : "grid"),
      a: () => this.panel.pin(this.panel.row),
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
