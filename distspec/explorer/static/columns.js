// A list of columns in groups, with a field that searches names and descriptions.

import { make } from "./dom.js";

// Returns whether a column's name or description contains all words of a text.
export function matches(column, text) {
  const where = `${column.name} ${column.description}`.toLowerCase();
  return text.toLowerCase().split(/\s+/).every((word) => where.includes(word));
}

// The columns by group, [[group, columns]], in the order of the catalog's groups.
export function groupColumns(table, columns) {
  const groups = new Map(table.catalog.groups.map((group) => [group, []]));
  for (const column of columns) (groups.get(column.group) ?? groups.get("other")).push(column);
  return [...groups].filter(([, members]) => members.length);
}

// Fills a select with columns and adds a search field before it. `first`: names that are listed on top.
export function fillColumnSelect(select, table, { columns, first = [], selected, label }) {
  const byName = new Map(columns.map((column) => [column.name, column]));
  const top = first.map((name) => byName.get(name)).filter(Boolean);
  const search = make("input", { type: "search", placeholder: "search columns", spellcheck: false, className: "column-search" });
  search.setAttribute("aria-label", `Search columns: ${label}`);
  const option = (column) => make("option", { value: column.name, textContent: column.name, title: column.description });
  const fill = (text) => {
    const chosen = select.value || selected;
    const keep = (column) => matches(column, text);
    const lists = [["main columns", top], ...groupColumns(table, columns.filter((column) => !first.includes(column.name)))];
    select.replaceChildren(...lists.map(([group, members]) => [group, members.filter(keep)])
      .filter(([, members]) => members.length)
      .map(([group, members]) => make("optgroup", { label: group }, ...members.map(option))));
    const chosenOption = [...select.options].find((item) => item.value === chosen);
    if (chosenOption) chosenOption.selected = true;
    else select.selectedIndex = -1;
  };
  const choose = (name) => {
    search.value = "";
    fill("");
    select.value = name;
    select.dispatchEvent(new Event("change", { bubbles: true }));
  };
  search.addEventListener("input", () => fill(search.value.trim()));
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && select.options.length) {
      event.preventDefault();
      choose(select.options[0].value);
    }
  });
  select.before(search);
  fill("");
  select.value = selected;
}
