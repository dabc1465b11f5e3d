// The legend: which column sets the colors of the map, and which categories are visible.

import { fillColumnSelect } from "./columns.js";
import { colorByCategory, colorByNumber, colorLimits, paletteColor, parseHex, toCss } from "./colors.js";
import { $, make, number, ticks } from "./dom.js";
import { LABEL, MARK } from "./table.js";

const FIRST_COLUMNS = ["cluster_label", "galaxy_type", "z", "anomaly_score", "snr", LABEL, MARK];

export class Legend extends EventTarget {
  // Fires "colors" with the colors of all points, and "visibility" when other categories are to be shown.
  constructor(table) {
    super();
    this.table = table;
    this.visibleCodes = new Set();
    this.name = "cluster_label";
    const columns = [...table.columns.values()].filter((column) => column.value_type !== "text");
    fillColumnSelect($("color"), table, { columns, first: FIRST_COLUMNS, selected: this.name, label: "color" });
    $("color").addEventListener("change", () => this.select($("color").value));
    document.addEventListener("theme", () => this.values && this.refresh());
  }

  // Colors by a column; only some categories are visible if their codes are given.
  async select(name, codes = []) {
    this.name = name;
    this.visibleCodes = new Set(codes);
    $("color").value = name;
    await this.refresh();
    this.dispatchEvent(new Event("visibility"));
  }

  async refresh() {
    const { name, table } = this;
    const palette = table.catalog.colors;
    const none = parseHex(palette.none);
    const values = await table.values(name);
    if (name !== this.name) return; // another column was selected in the meantime
    this.values = values;
    const column = table.columns.get(name);
    $("color-description").textContent = column.description + (column.unit ? ` [${column.unit}]` : "");
    const categories = table.categories(name);
    if (categories) {
      let index = 0;
      this.entries = new Map(
        categories.map(([code, label]) => {
          const color = code < 0 ? none : paletteColor(palette.classes, name === "cluster_label" ? code : index++);
          return [code, { label, color, n: 0 }];
        }),
      );
      for (const value of values) {
        const entry = this.entries.get(value);
        if (entry) entry.n += 1;
      }
      this.showCategories();
      this.dispatchEvent(new CustomEvent("colors", { detail: colorByCategory(values, this.entries, none) }));
    } else {
      this.entries = null;
      const limits = colorLimits(values);
      this.showScale(limits, column);
      this.dispatchEvent(new CustomEvent("colors", { detail: colorByNumber(values, limits, palette.sequential, none) }));
    }
  }

  showCategories() {
    const items = [...this.entries].map(([code, { label, color, n }]) => {
      const button = make(
        "button",
        { type: "button", className: "entry", title: "Show only this category; click again to show all" },
        make("i", { className: "dot", style: { background: toCss(color) } }),
        make("span", { textContent: label }),
        make("span", { className: "n", textContent: n.toLocaleString("en") }),
      );
      button.setAttribute("aria-pressed", String(this.visibleCodes.has(code)));
      button.addEventListener("click", () => {
        if (!this.visibleCodes.delete(code)) this.visibleCodes.add(code);
        button.setAttribute("aria-pressed", String(this.visibleCodes.has(code)));
        this.dispatchEvent(new Event("visibility"));
      });
      return make("li", {}, button);
    });
    $("legend").replaceChildren(make("ul", { className: "legend" }, ...items));
  }

  showScale([low, high], column) {
    const { sequential, none } = this.table.catalog.colors;
    const bar = make("div", { className: "color-bar", style: { background: `linear-gradient(to right, ${sequential.join(",")})` } });
    const axis = make("div", { className: "color-axis" });
    for (const tick of ticks(low, high, 4)) {
      const fraction = (tick - low) / (high - low);
      axis.append(make("span", { textContent: number(tick), style: { left: `${100 * fraction}%` } }));
    }
    const caption = `${column.name}${column.unit ? ` [${column.unit}]` : ""}, 2nd to 98th percentile`;
    $("legend").replaceChildren(
      bar, axis,
      make("p", { className: "small" }, caption, make("i", { className: "dot", style: { background: none } }), "no value"),
    );
  }

  // A function of a row that returns whether its category is visible, or null if all are.
  test() {
    return this.visibleCodes.size ? (row) => this.visibleCodes.has(this.values[row]) : null;
  }

  classColor(row) {
    const label = this.table.classes[row];
    const { classes, none } = this.table.catalog.colors;
    return label < 0 ? none : toCss(paletteColor(classes, label));
  }
}
