// What colours mean, and hiding what is not wanted by it.

import { byCategory, byNumber, css, limits, paletteColour, rgb } from "./colours.js";
import { $, make, number, ticks } from "./dom.js";
import { LABEL, MARK } from "./table.js";

const FIRST = ["cluster_label", "galaxy_type", "z", "anomaly_score", "snr", LABEL, MARK];

export class Legend extends EventTarget {
  // Fires "colours" with them, "only" when other categories shall be seen.
  constructor(table) {
    super();
    this.table = table;
    this.only = new Set();
    this.name = "cluster_label";
    const columns = [...table.columns.values()].filter((column) => column.kind !== "text");
    const option = ({ name, description }) => make("option", { value: name, textContent: name, title: description });
    const first = FIRST.map((name) => table.columns.get(name)).filter((column) => column && column.kind !== "text");
    const rest = columns.filter((column) => !FIRST.includes(column.name)).sort((a, b) => a.name.localeCompare(b.name));
    $("colour").append(
      make("optgroup", { label: "first to look at" }, ...first.map(option)),
      make("optgroup", { label: "all others" }, ...rest.map(option)),
    );
    $("colour").addEventListener("change", () => this.choose($("colour").value));
  }

  async choose(name) {
    this.name = name;
    this.only.clear();
    $("colour").value = name;
    await this.refresh();
    this.dispatchEvent(new Event("only"));
  }

  async refresh() {
    const { name, table } = this;
    const { palette, none } = { palette: table.meta.colours.classes, none: rgb(table.meta.colours.none) };
    const values = await table.values(name);
    if (name !== this.name) return; // another was chosen meanwhile
    this.values = values;
    const column = table.columns.get(name);
    $("colour-about").textContent = column.description + (column.unit ? ` [${column.unit}]` : "");
    const categories = table.categories(name);
    if (categories) {
      let place = 0;
      this.entries = new Map(
        categories.map(([code, words]) => {
          const colour = code < 0 ? none : paletteColour(palette, name === "cluster_label" ? code : place++);
          return [code, { words, colour, n: 0 }];
        }),
      );
      for (const value of values) {
        const entry = this.entries.get(value);
        if (entry) entry.n += 1;
      }
      this.listCategories();
      this.dispatchEvent(new CustomEvent("colours", { detail: byCategory(values, this.entries, none) }));
    } else {
      this.entries = null;
      const range = limits(values);
      this.drawRamp(range, column);
      this.dispatchEvent(new CustomEvent("colours", { detail: byNumber(values, range, table.meta.colours.ramp, none) }));
    }
  }

  listCategories() {
    const rows = [...this.entries].map(([code, { words, colour, n }]) => {
      const button = make(
        "button",
        { type: "button", className: "entry", title: "Show only this; again: all" },
        make("i", { className: "dot", style: { background: css(colour) } }),
        make("span", { textContent: words }),
        make("span", { className: "n", textContent: n.toLocaleString("en") }),
      );
      button.setAttribute("aria-pressed", String(this.only.has(code)));
      button.addEventListener("click", () => {
        if (!this.only.delete(code)) this.only.add(code);
        button.setAttribute("aria-pressed", String(this.only.has(code)));
        this.dispatchEvent(new Event("only"));
      });
      return make("li", {}, button);
    });
    $("legend").replaceChildren(make("ul", { className: "legend" }, ...rows));
  }

  drawRamp([low, high], column) {
    const { ramp, none } = this.table.meta.colours;
    const bar = make("div", { className: "ramp", style: { background: `linear-gradient(to right, ${ramp.join(",")})` } });
    const scale = make("div", { className: "scale" });
    for (const tick of ticks(low, high, 4)) {
      const part = (tick - low) / (high - low);
      scale.append(make("span", { textContent: number(tick), style: { left: `${100 * part}%` } }));
    }
    const words = `${column.name}${column.unit ? ` [${column.unit}]` : ""}; 2 % beyond either end`;
    $("legend").replaceChildren(
      bar, scale,
      make("p", { className: "small" }, words, make("i", { className: "dot", style: { background: none } }), "no value"),
    );
  }

  // Whether the legend lets a row through.
  lets() {
    return this.only.size ? (row) => this.only.has(this.values[row]) : null;
  }

  colourOf(row) {
    const label = this.table.classes[row];
    const { classes, none } = this.table.meta.colours;
    return label < 0 ? none : css(paletteColour(classes, label));
  }
}
