// The page: what is asked first, and who hears of what.

import * as api from "./api.js";
import { $, count, make, number } from "./dom.js";
import { Filters } from "./filters.js";
import { Labels } from "./labels.js";
import { Legend } from "./legend.js";
import { ScatterMap } from "./map.js";
import { Panel } from "./panel.js";
import { NoWebGL } from "./points.js";
import { Table } from "./table.js";

const LISTED = 100; // of a selection, so many are listed

async function begin() {
  const [meta, columns] = await Promise.all([api.json("catalogue"), api.floats("map")]);
  const table = new Table(meta, columns);
  $("run").textContent = `${count(meta.n)} · run ${meta.run_id} · ${meta.root}`;
  const map = new ScatterMap($("map"), table.x, table.y);
  const legend = new Legend(table);
  legend.addEventListener("colours", ({ detail }) => map.colour(detail));
  await legend.refresh();
  const page = new Page(table, map, legend);
  page.filter();
  await new Promise(requestAnimationFrame);
  await map.points.drawn();
  performance.mark("map");
  $("map").dataset.painted = "true";
  await table.refreshSaid();
  const names = await table.names();
  page.names = names;
}

class Page {
  constructor(table, map, legend) {
    Object.assign(this, { table, map, legend, names: null, hovered: -1, near: [], selected: new Uint32Array() });
    this.filters = new Filters(table);
    this.panel = new Panel(table, legend);
    this.labels = new Labels(table);
    this.labels.rows = () => (this.target === "selection" ? this.selected : this.panel.row < 0 ? [] : [this.panel.row]);
    this.filters.addEventListener("change", () => this.filter());
    legend.addEventListener("only", () => this.filter());
    this.labels.addEventListener("said", () => this.hear());
    this.panel.addEventListener("open", ({ detail }) => this.open(detail));
    this.panel.addEventListener("shown", ({ detail }) => {
      this.near = detail.neighbours.map((each) => each.row);
      this.ring();
    });
    map.addEventListener("click", ({ detail }) => detail >= 0 && this.open(detail));
    map.addEventListener("hover", ({ detail }) => this.hover(detail));
    map.addEventListener("lasso", ({ detail }) => {
      this.lasso(false);
      this.select(detail);
      if (detail.length) this.aim("selection");
    });
    $("lasso").addEventListener("click", () => this.lasso(!map.lassoing));
    $("clear").addEventListener("click", () => this.select(new Uint32Array()));
    $("export").addEventListener("click", () => this.save());
    $("search").addEventListener("submit", (event) => {
      event.preventDefault();
      this.find($("asked").value);
    });
    $("help-open").addEventListener("click", () => $("help").showModal());
    for (const button of document.querySelectorAll("[data-zoom]")) {
      button.addEventListener("click", () => this.zoom(Number(button.dataset.zoom)));
    }
    document.addEventListener("keydown", (event) => this.press(event));
    $("points").setAttribute(
      "aria-label",
      `Map of ${count(table.n)} in the model's latent space, made flat by UMAP. Find opens one by name.`,
    );
  }

  get target() {
    return document.querySelector("[name=target]:checked").value;
  }

  aim(target) {
    document.querySelector(`[name=target][value=${target}]`).checked = true;
  }

  filter() {
    const tests = [...this.filters.lets(), ...[this.legend.lets()].filter(Boolean)];
    const visible = new Uint8Array(this.table.n).fill(1);
    let n = this.table.n;
    if (tests.length) {
      n = 0;
      for (let row = 0; row < visible.length; row++) n += visible[row] = tests.every((lets) => lets(row)) ? 1 : 0;
    }
    $("shown").textContent = tests.length ? `${n.toLocaleString("en")} of ${this.table.n.toLocaleString("en")} shown` : "";
    this.map.show(visible, this.selected);
  }

  async open(row) {
    this.aim("open");
    this.near = [];
    this.openRow = row;
    this.ring();
    this.map.goTo(row);
    try {
      await this.panel.open(row);
    } catch (error) {
      this.labels.tell(`Not shown: ${error.message}`);
    }
  }

  ring() {
    const rings = this.near.map((row) => ({ row, radius: 4, colour: "#777", width: 1 }));
    if (this.openRow !== undefined) rings.push({ row: this.openRow, radius: 7, colour: "#d55e00", width: 2 });
    if (this.hovered >= 0) rings.push({ row: this.hovered, radius: 5, colour: "#222", width: 1.2 });
    this.map.ring(rings);
  }

  hover({ row, at }) {
    const tip = $("tip");
    if (row !== this.hovered) {
      this.hovered = row;
      this.ring();
    }
    tip.hidden = row < 0;
    if (row < 0) return;
    const value = this.legend.values[row];
    const said = this.legend.entries ? this.legend.entries.get(value)?.words ?? "no value" : number(value);
    tip.replaceChildren(
      make("b", { textContent: this.names ? this.names[row] : `row ${row}` }),
      make("span", { textContent: this.legend.entries ? said : `${this.legend.name} ${said}` }),
    );
    const { width, height } = this.map.view;
    const [u, v] = at;
    tip.style.setProperty("left", `${Math.min(u + 14, width - tip.offsetWidth - 6)}px`);
    tip.style.setProperty("top", `${v + 18 + tip.offsetHeight > height ? v - tip.offsetHeight - 12 : v + 18}px`);
  }

  lasso(on) {
    this.map.lassoing = on;
    $("lasso").setAttribute("aria-pressed", String(on));
    $("map").classList.toggle("lassoing", on);
  }

  select(rows, how = "") {
    this.selected = rows;
    for (const id of ["clear", "export"]) $(id).disabled = !rows.length;
    document.querySelector("[name=target][value=selection]").disabled = !rows.length;
    if (!rows.length) this.aim("open");
    $("selected").textContent = rows.length || how ? `${count(rows.length)}${how && `: ${how}`}` : "None: draw around points, or find some.";
    this.listSelected();
    this.map.show(this.map.visible, rows);
  }

  async listSelected() {
    const rows = this.selected;
    const names = await this.table.names();
    if (rows !== this.selected) return;
    const items = Array.from(rows.subarray(0, LISTED), (row) => {
      const said = [this.table.said.labels.get(row), this.table.said.marks.get(row)].filter(Boolean).join(", ");
      const button = make("button", { type: "button", className: "entry" },
        make("i", { className: "dot", style: { background: this.legend.colourOf(row) } }),
        make("span", { textContent: names[row], className: "id" }), make("span", { className: "n", textContent: said }));
      button.addEventListener("click", () => this.open(row));
      return make("li", {}, button);
    });
    if (rows.length > LISTED) items.push(make("li", { className: "small", textContent: `… and ${count(rows.length - LISTED)} more` }));
    $("selection-list").replaceChildren(...items);
  }

  async find(asked) {
    if (!asked.trim()) return;
    try {
      const { how, total, rows } = await api.json(`find?text=${encodeURIComponent(asked)}`);
      this.select(Uint32Array.from(rows), how + (total > rows.length ? `, the first of ${total.toLocaleString("en")}` : ""));
      this.labels.tell(total ? "" : `Nothing found: ${how}.`);
      if (rows.length) await this.open(rows[0]);
    } catch (error) {
      this.labels.tell(`Not found: ${error.message}`);
    }
  }

  async save() {
    try {
      const answer = await api.send("export", { rows: Array.from(this.selected) });
      const url = URL.createObjectURL(await answer.blob());
      make("a", { href: url, download: `distspec-${this.table.meta.run_id}-selection.csv` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
      this.labels.tell(`Exported ${count(this.selected.length)}.`);
    } catch (error) {
      this.labels.tell(`Not exported: ${error.message}`);
    }
  }

  async hear() {
    this.panel.refreshSaid();
    this.listSelected();
    if (this.table.columns.get(this.legend.name).kind === "said") {
      await this.legend.refresh();
      this.filter();
    }
  }

  step(by) {
    const rows = Array.from(this.selected);
    if (!rows.length) return;
    const at = rows.indexOf(this.panel.row);
    this.open(rows[at < 0 ? 0 : (at + by + rows.length) % rows.length]);
  }

  zoom(factor) {
    if (factor) this.map.zoom(factor);
    else this.map.all();
  }

  press(event) {
    const typing = event.target.closest("input:not([type=radio]), textarea, select, dialog");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = {
      "?": () => $("help").showModal(),
      "/": () => $("asked").focus(),
      c: () => $("colour").focus(),
      l: () => this.lasso(!this.map.lassoing),
      n: () => this.step(1),
      p: () => this.step(-1),
      f: () => document.querySelector("[name=frame]:not(:checked)").click(),
      "+": () => this.zoom(1.6),
      "-": () => this.zoom(0.625),
      0: () => this.zoom(0),
      Escape: () => {
        this.lasso(false);
        this.select(new Uint32Array());
      },
    };
    if (keys[event.key]) keys[event.key]();
    else if (!this.labels.press(event.key)) return;
    event.preventDefault();
  }
}

begin().catch((error) => {
  $("failure").hidden = false;
  $("failure").textContent =
    error instanceof NoWebGL
      ? "The map needs WebGL2, which this browser does not offer. Turn on hardware acceleration in its settings, or use a current Firefox, Chrome, Edge or Safari. Queries by `distspec query` need none."
      : `The explorer could not start: ${error.message}. Is \`distspec explore\` still running?`;
  if (!(error instanceof NoWebGL)) throw error;
});
