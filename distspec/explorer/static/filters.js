// Filters: a range of a number, one value of a category, or a text that a column contains.

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
    const filter = { name, lets: null };
    this.list.push(filter);
    const columns = [...this.table.columns.values()].sort((a, b) => a.name.localeCompare(b.name));
    const choice = make("select", {}, ...columns.map(({ name: each, description }) =>
      make("option", { value: each, textContent: each, title: description, selected: each === name })));
    choice.setAttribute("aria-label", "Column to filter by");
    const terms = make("span", { className: "terms" });
    const remove = make("button", { type: "button", textContent: "×", title: "Remove this filter" });
    remove.setAttribute("aria-label", "Remove this filter");
    const line = make("div", { className: "filter" }, choice, remove, terms);
    remove.addEventListener("click", () => {
      line.remove();
      this.list.splice(this.list.indexOf(filter), 1);
      this.changed();
    });
    choice.addEventListener("change", () => {
      filter.name = choice.value;
      this.ask(filter, terms);
      this.changed();
    });
    this.ask(filter, terms);
    $("filters").append(line);
    return line;
  }

  ask(filter, terms) {
    filter.lets = null;
    const column = this.table.columns.get(filter.name);
    const categories = this.table.categories(filter.name);
    if (categories) {
      const choice = make("select", {}, make("option", { value: "", textContent: "any" }),
        ...categories.map(([code, words]) => make("option", { value: code, textContent: words })));
      choice.setAttribute("aria-label", `${filter.name} is`);
      choice.addEventListener("change", () => this.isValue(filter, choice.value));
      terms.replaceChildren("is ", choice);
    } else if (column.kind === "text") {
      const field = make("input", { type: "search", spellcheck: false });
      field.setAttribute("aria-label", `${filter.name} contains`);
      field.addEventListener("change", () => this.contains(filter, field.value));
      terms.replaceChildren("has ", field);
    } else {
      const [low, high] = ["at least", "at most"].map((words) => {
        const field = make("input", { type: "number", step: "any", placeholder: words });
        field.setAttribute("aria-label", `${filter.name} ${words}${column.unit ? ` [${column.unit}]` : ""}`);
        return field;
      });
      const change = () => this.between(filter, low.value, high.value);
      for (const field of [low, high]) field.addEventListener("change", change);
      terms.replaceChildren(low, "–", high, make("span", { className: "small", textContent: column.unit }));
    }
  }

  async between(filter, low, high) {
    const values = await this.table.values(filter.name);
    const [from, to] = [low === "" ? -Infinity : Number(low), high === "" ? Infinity : Number(high)];
    filter.lets = low === "" && high === "" ? null : (row) => values[row] >= from && values[row] <= to;
    this.changed();
  }

  async isValue(filter, code) {
    const values = await this.table.values(filter.name);
    filter.lets = code === "" ? null : (row) => values[row] === Number(code);
    this.changed();
  }

  async contains(filter, text) {
    if (text === "") filter.lets = null;
    else {
      const flags = new Uint8Array(this.table.n);
      const path = `containing/${encodeURIComponent(filter.name)}?text=${encodeURIComponent(text)}`;
      for (const row of await api.rows(path)) flags[row] = 1;
      filter.lets = (row) => flags[row] === 1;
    }
    this.changed();
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }

  lets() {
    return this.list.map((filter) => filter.lets).filter(Boolean);
  }
}
