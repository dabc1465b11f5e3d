// Filters: a range of numbers, one value of a category, or a text that a column contains.

import * as api from "./api.js";
import { fillColumnSelect } from "./columns.js";
import { $, make } from "./dom.js";
import { Histogram } from "./histogram.js";

export class Filters extends EventTarget {
  // Fires "change".
  constructor(table) {
    super();
    this.table = table;
    this.list = [];
    $("filter-add").addEventListener("click", () => this.add("z").line.querySelector("select").focus());
    document.addEventListener("theme", () => this.list.forEach((filter) => filter.histogram?.redraw()));
  }

  // Adds a filter of a column; `value` is [low, high] of a range, the name of a category, or a text. Its values may still
  // have to be loaded: `applied` of the filter waits for them.
  add(name, value) {
    const filter = { name, test: null, value: null, applied: null };
    this.list.push(filter);
    const select = make("select");
    select.setAttribute("aria-label", "Column to filter by");
    const inputs = make("span", { className: "filter-inputs" });
    const remove = make("button", { type: "button", textContent: "×", title: "Remove this filter" });
    remove.setAttribute("aria-label", "Remove this filter");
    filter.line = make("div", { className: "filter" }, select, remove, inputs);
    const first = ["z", "snr", "anomaly_score", "galaxy_type", "cluster_label"];
    fillColumnSelect(select, this.table, { columns: [...this.table.columns.values()], first, selected: name, label: "filter" });
    remove.addEventListener("click", () => {
      filter.line.remove();
      this.list.splice(this.list.indexOf(filter), 1);
      this.fireChange();
    });
    select.addEventListener("change", () => {
      filter.name = select.value;
      this.showInputs(filter, inputs);
      this.fireChange();
    });
    $("filters").append(filter.line);
    this.showInputs(filter, inputs);
    if (value !== undefined) this.setValue(filter, value);
    return filter;
  }

  clear() {
    for (const filter of this.list.splice(0)) filter.line.remove();
    this.fireChange();
  }

  // Sets the inputs of a filter as if the user had done so.
  setValue(filter, value) {
    const fields = [...filter.line.querySelectorAll(".filter-inputs input, .filter-inputs select")];
    const [field] = fields;
    if (Array.isArray(value)) value.forEach((bound, i) => (fields[i].value = bound));
    else if (field.tagName === "SELECT") field.value = [...field.options].find((option) => option.textContent === value)?.value ?? "";
    else field.value = value;
    field.dispatchEvent(new Event("change"));
  }

  // Filters as [[name, value]] with the values that `add` takes.
  values() {
    return this.list.filter((filter) => filter.value !== null).map(({ name, value }) => [name, value]);
  }

  showInputs(filter, inputs) {
    Object.assign(filter, { test: null, value: null, histogram: null });
    const column = this.table.columns.get(filter.name);
    const categories = this.table.categories(filter.name);
    if (categories) {
      const select = make("select", {}, make("option", { value: "", textContent: "any" }),
        ...categories.map(([code, label]) => make("option", { value: code, textContent: label })));
      select.setAttribute("aria-label", `${filter.name} is`);
      select.addEventListener("change", () => (filter.applied = this.filterByCategory(filter, select.value)));
      inputs.replaceChildren("is ", select);
    } else if (column.value_type === "text") {
      const input = make("input", { type: "search", spellcheck: false });
      input.setAttribute("aria-label", `${filter.name} contains`);
      input.addEventListener("change", () => (filter.applied = this.filterByText(filter, input.value)));
      inputs.replaceChildren("contains ", input);
    } else {
      const [low, high] = ["at least", "at most"].map((bound) => {
        const input = make("input", { type: "number", step: "any", placeholder: bound });
        input.setAttribute("aria-label", `${filter.name} ${bound}${column.unit ? ` [${column.unit}]` : ""}`);
        return input;
      });
      const change = () => (filter.applied = this.filterByRange(filter, low.value, high.value));
      for (const input of [low, high]) input.addEventListener("change", change);
      filter.histogram = this.histogram(filter.name, (range) => {
        [low.value, high.value] = range ?? ["", ""];
        change();
      });
      const unit = make("span", { className: "small", textContent: column.unit });
      inputs.replaceChildren(filter.histogram.canvas, make("span", { className: "range" }, low, "–", high, unit));
    }
  }

  // A histogram of a column that fills itself when the values are loaded.
  histogram(name, change) {
    const histogram = new Histogram(name);
    histogram.addEventListener("range", ({ detail }) => change(detail));
    this.table.values(name).then((values) => {
      histogram.setValues(values);
      if (this.visible) histogram.show(this.visible);
    });
    return histogram;
  }

  // Shows in the histograms how many of the visible rows each bin has.
  showCounts(visible) {
    this.visible = visible;
    for (const { histogram } of this.list) histogram?.show(visible);
  }

  async filterByRange(filter, low, high) {
    const values = await this.table.values(filter.name);
    const [from, to] = [low === "" ? -Infinity : Number(low), high === "" ? Infinity : Number(high)];
    const isEmpty = low === "" && high === "";
    filter.value = isEmpty ? null : [low, high];
    filter.histogram.range = isEmpty ? null : [Math.max(from, filter.histogram.low), Math.min(to, filter.histogram.high)];
    filter.test = isEmpty ? null : (row) => values[row] >= from && values[row] <= to;
    this.fireChange();
  }

  async filterByCategory(filter, code) {
    const values = await this.table.values(filter.name);
    const name = this.table.categories(filter.name).find(([candidate]) => candidate === Number(code))?.[1];
    filter.value = code === "" ? null : name;
    filter.test = code === "" ? null : (row) => values[row] === Number(code);
    this.fireChange();
  }

  async filterByText(filter, text) {
    filter.value = text || null;
    if (text === "") filter.test = null;
    else {
      const matches = new Uint8Array(this.table.n);
      const path = `match/${encodeURIComponent(filter.name)}?text=${encodeURIComponent(text)}`;
      for (const row of await api.rows(path)) matches[row] = 1;
      filter.test = (row) => matches[row] === 1;
    }
    this.fireChange();
  }

  fireChange() {
    this.dispatchEvent(new Event("change"));
  }

  // Functions of a row that return whether each filter keeps it.
  tests() {
    return this.list.map((filter) => filter.test).filter(Boolean);
  }
}
