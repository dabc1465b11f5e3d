// The catalog in the browser: columns, which are loaded on request, names of categories, and annotations.

import * as api from "./api.js";

export const LABEL = "human label";
export const MARK = "mark";
const CLASS = "cluster_label";

export class Table {
  constructor(catalog, map) {
    this.catalog = catalog;
    this.n = catalog.n;
    [this.x, this.y, this.classes] = [0, 1, 2].map((i) => map.subarray(i * catalog.n, (i + 1) * catalog.n));
    this.loaded = new Map([[CLASS, Promise.resolve(this.classes)]]);
    this.annotations = { labels: new Map(), marks: new Map() };
    const annotationColumns = [
      { name: LABEL, value_type: "annotation", group: "labels", unit: "", description: "Label given by you, otherwise the latest label of another annotator." },
      { name: MARK, value_type: "annotation", group: "labels", unit: "", description: "Mark as interesting or ordinary." },
    ];
    this.columns = new Map([...catalog.columns, ...annotationColumns].map((column) => [column.name, column]));
  }

  // A column as numbers. Categories are codes; missing values are NaN, noise is -1.
  values(name) {
    const column = this.columns.get(name);
    if (column.value_type === "annotation") return Promise.resolve(this.annotationCodes(name));
    if (!this.loaded.has(name)) this.loaded.set(name, api.floats(`column/${encodeURIComponent(name)}`));
    return this.loaded.get(name);
  }

  annotationCodes(name) {
    const labels = name === LABEL ? this.annotations.labels : this.annotations.marks;
    const codes = new Map(this.annotationNames(name).map((label, i) => [label, i]));
    const values = new Float32Array(this.n).fill(NaN);
    for (const [row, label] of labels) values[row] = codes.get(label);
    return values;
  }

  annotationNames(name) {
    if (name === MARK) return this.catalog.marks;
    const used = new Set(this.annotations.labels.values());
    const listed = this.catalog.label_names;
    return [...listed, ...[...used].filter((label) => !listed.includes(label)).sort()];
  }

  // Codes of a column with their names, [[code, name]]; null if it holds numbers.
  categories(name) {
    const column = this.columns.get(name);
    if (name === CLASS) {
      const labels = this.catalog.classes.map((row) => row.cluster_label).sort((a, b) => (a < 0) - (b < 0) || a - b);
      return labels.map((label) => [label, this.className(label)]);
    }
    if (column.value_type === "annotation") return this.annotationNames(name).map((label, i) => [i, label]);
    if (column.value_type === "category") return column.categories.map((value, i) => [i, value || "(empty)"]);
    return null;
  }

  className(label) {
    if (label < 0) return "noise (−1)";
    const row = this.catalog.classes.find((candidate) => candidate.cluster_label === label);
    const galaxyType = row?.galaxy_type && row.galaxy_type !== "unknown" ? row.galaxy_type : "";
    const name = row?.class_name || galaxyType;
    return name ? `class ${label} · ${name}` : `class ${label}`;
  }

  async objectIds() {
    this.ids ??= api.text("ids").then((all) => all.split("\0"));
    return this.ids;
  }

  async refreshAnnotations() {
    const labels = await api.json("labels");
    for (const name of ["labels", "marks"]) {
      this.annotations[name] = new Map(Object.entries(labels[name]).map(([row, label]) => [Number(row), label]));
    }
  }
}
