// Filters: a range of numbers, one value of a category, or a text that a column contains.

import * as api from "./api.js";
import { $, make } from "./dom.js";

export class Filters extends EventTarget {
  // Fires "change".
  constructor(table) {
    super();
    this.table = table;
    this.list = [];
    $("filter-add").addEventListener("click", () => this.add("z").querySelector("select").focus());
  }

  add(name) {
    const filter = { name, test: null };
    this.list.push(filter);
    const columns = [...this.table.columns.values()].sort((a, b) => a.name.localeCompare(b.name));
    const select = make("select", {}, ...columns.map((column) =>
      make("option", { value: column.name, textContent: column.name, title: column.description, selected: column.name === name })));
    select.setAttribute("aria-label", "Column to filter by");
    const inputs = make("span", { className: "filter-inputs" });
    const remove = make("button", { type: "button", textContent: "×", title: "Remove this filter" });
    remove.setAttribute("aria-label", "Remove this filter");
    const line = make("div", { className: "filter" }, select, remove, inputs);
    remove.addEventListener("click", () => {
      line.remove();
      this.list.splice(this.list.indexOf(filter), 1);
      this.fireChange();
    });
    select.addEventListener("change", () => {
      filter.name = select.value;
      this.showInputs(filter, inputs);
      this.fireChange();
    });
    this.showInputs(filter, inputs);
    $("filters").append(line);
    return line;
  }

  showInputs(filter, inputs) {
    filter.test = null;
    const column = this.table.columns.get(filter.name);
    const categories = this.table.categories(filter.name);
    if (categories) {
      const select = make("select", {}, make("option", { value: "", textContent: "any" }),
        ...categories.map(([code, label]) => make("option", { value: code, textContent: label })));
      select.setAttribute("aria-label", `${filter.name} is`);
      select.addEventListener("change", () => this.filterByCategory(filter, select.value));
      inputs.replaceChildren("is ", select);
    } else if (column.value_type === "text") {
      const input = make("input", { type: "search", spellcheck: false });
      input.setAttribute("aria-label", `${filter.name} contains`);
      input.addEventListener("change", () => this.filterByText(filter, input.value));
      inputs.replaceChildren("contains ", input);
    } else {
      const [low, high] = ["at least", "at most"].map((bound) => {
        const input = make("input", { type: "number", step: "any", placeholder: bound });
        input.setAttribute("aria-label", `${filter.name} ${bound}${column.unit ? ` [${column.unit}]` : ""}`);
        return input;
      });
      const change = () => this.filterByRange(filter, low.value, high.value);
      for (const input of [low, high]) input.addEventListener("change", change);
      inputs.replaceChildren(low, "–", high, make("span", { className: "small", textContent: column.unit }));
    }
  }

  async filterByRange(filter, low, high) {
    const values = await this.table.values(filter.name);
    const [from, to] = [low === "" ? -Infinity : Number(low), high === "" ? Infinity : Number(high)];
    filter.test = low === "" && high === "" ? null : (row) => values[row] >= from && values[row] <= to;
    this.fireChange();
  }

  async filterByCategory(filter, code) {
    const values = await this.table.values(filter.name);
    filter.test = code === "" ? null : (row) => values[row] === Number(code);
    this.fireChange();
  }

  async filterByText(filter, text) {
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
