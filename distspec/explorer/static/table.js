// The catalogue in the browser: columns as they are asked for, what they are called, and what filters let through.

import * as api from "./api.js";

export const LABEL = "human label";
export const MARK = "mark";
const CLASS = "cluster_label";

export class Table {
  constructor(meta, map) {
    this.meta = meta;
    this.n = meta.n;
    [this.x, this.y, this.classes] = [0, 1, 2].map((i) => map.subarray(i * meta.n, (i + 1) * meta.n));
    this.loaded = new Map([[CLASS, Promise.resolve(this.classes)]]);
    this.said = { labels: new Map(), marks: new Map() };
    const extra = [
      { name: LABEL, kind: "said", unit: "", description: "what somebody says it is: yours, else the last one's" },
      { name: MARK, kind: "said", unit: "", description: "marked as interesting or ordinary" },
    ];
    this.columns = new Map([...meta.columns, ...extra].map((column) => [column.name, column]));
  }

  // A column as numbers, (n,): of a category the codes, -1 or NaN for none.
  values(name) {
    const column = this.columns.get(name);
    if (column.kind === "said") return Promise.resolve(this.coded(name));
    if (!this.loaded.has(name)) this.loaded.set(name, api.floats(`column/${encodeURIComponent(name)}`));
    return this.loaded.get(name);
  }

  coded(name) {
    const said = name === LABEL ? this.said.labels : this.said.marks;
    const codes = new Map(this.saidNames(name).map((each, i) => [each, i]));
    const values = new Float32Array(this.n).fill(NaN);
    for (const [row, label] of said) values[row] = codes.get(label);
    return values;
  }

  saidNames(name) {
    if (name === MARK) return this.meta.marks;
    const known = new Set(this.said.labels.values());
    const listed = this.meta.label_names;
    return [...listed, ...[...known].filter((each) => !listed.includes(each)).sort()];
  }

  // What a column's codes mean: [[code, name]], or null where it holds numbers.
  categories(name) {
    const column = this.columns.get(name);
    if (name === CLASS) {
      const labels = this.meta.classes.map((each) => each.cluster_label).sort((a, b) => (a < 0) - (b < 0) || a - b);
      return labels.map((label) => [label, this.className(label)]);
    }
    if (column.kind === "said") return this.saidNames(name).map((each, i) => [i, each]);
    if (column.kind === "category") return column.categories.map((each, i) => [i, each || "(empty)"]);
    return null;
  }

  className(label) {
    if (label < 0) return "noise (−1)";
    const row = this.meta.classes.find((each) => each.cluster_label === label);
    const name = row?.class_name || (row?.galaxy_type && row.galaxy_type !== "unknown" ? row.galaxy_type : "");
    return name ? `class ${label} · ${name}` : `class ${label}`;
  }

  async names() {
    this.ids ??= api.text("names").then((all) => all.split("\0"));
    return this.ids;
  }

  async refreshSaid() {
    const said = await api.json("labels");
    for (const kind of ["labels", "marks"]) {
      this.said[kind] = new Map(Object.entries(said[kind]).map(([row, label]) => [Number(row), label]));
    }
  }
}
