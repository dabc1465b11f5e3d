// The open spectrum: its curves, what is known and was said of it, and its neighbours.

import * as api from "./api.js";
import { $, make, number } from "./dom.js";
import { SpectrumChart } from "./spectrum.js";

export class Panel extends EventTarget {
  // Fires "open" with a row when a neighbour is chosen, "shown" with what is now shown.
  constructor(table, legend) {
    super();
    this.table = table;
    this.legend = legend;
    this.row = -1;
    $("frame").addEventListener("change", (event) => this.chart?.setFrame(event.target.value));
    $("oddest").replaceChildren(...table.meta.oddest.map((odd) => this.entry(odd, `${number(odd.anomaly_score, 3)} dex`)));
  }

  async open(row) {
    this.row = row;
    const [curves, object] = await Promise.all([api.floats(`spectrum/${row}`), api.json(`object/${row}`)]);
    if (row !== this.row) return; // another was opened meanwhile
    const { facts } = object;
    $("empty").hidden = true;
    $("object").hidden = false;
    this.chart ??= new SpectrumChart($("chart"), $("residual"), this.table.meta);
    const n = curves.length / 3;
    const [flux, ivar, recon] = [0, 1, 2].map((i) => curves.subarray(i * n, (i + 1) * n));
    this.chart.show({ flux, ivar, recon, z: facts.z, norm: facts.norm, name: facts.object_id });
    this.describe(object);
    this.dispatchEvent(new CustomEvent("shown", { detail: object }));
    requestAnimationFrame(() => {
      performance.mark(`spectrum ${row}`);
      $("panel").dataset.painted = String(row);
    });
  }

  describe({ facts, page, neighbours, said }) {
    $("name").textContent = facts.object_id;
    $("page").hidden = !page.startsWith("https://");
    if (page.startsWith("https://")) $("page").href = page;
    const odd = facts.anomaly_rank <= 200 ? `, number ${facts.anomaly_rank} of the oddest` : "";
    const words = [
      facts.z === 0 ? "" : `z = ${number(facts.z, 5)}`,
      `S/N ${number(facts.snr, 3)} a pixel`,
      this.table.className(facts.cluster_label),
      facts.galaxy_type && facts.galaxy_type !== "unknown" ? `${facts.galaxy_type} (confidence ${number(facts.galaxy_type_confidence, 2)})` : "",
      `anomaly score ${number(facts.anomaly_score, 3)} dex${odd}`,
    ];
    $("brief").textContent = words.filter(Boolean).join("  ·  ");
    $("why").textContent = facts.galaxy_type_reason ?? "";
    $("why").hidden = !facts.galaxy_type_reason;
    this.listSaid(said);
    $("neighbours").replaceChildren(...neighbours.map((near) => this.entry(near, `${number(near.distance, 3)} σ`)));
    const rows = Object.entries(facts).map(([name, value]) => {
      const column = this.table.columns.get(name);
      const head = make("th", { scope: "row", textContent: name, title: column?.description ?? "" });
      return make("tr", {}, head, make("td", { textContent: number(value, 6) }), make("td", { textContent: column?.unit ?? "" }));
    });
    $("facts").tBodies[0].replaceChildren(...rows);
  }

  // A line that opens another spectrum.
  entry({ row, object_id, z }, words) {
    const button = make(
      "button", { type: "button", className: "entry" },
      make("i", { className: "dot", style: { background: this.legend.colourOf(row) } }),
      make("span", { textContent: object_id, className: "id" }),
      make("span", { className: "n", textContent: `${z ? `z ${number(z, 3)}  ` : ""}${words}` }),
    );
    button.addEventListener("click", () => this.dispatchEvent(new CustomEvent("open", { detail: row })));
    return make("li", {}, button);
  }

  listSaid(said) {
    $("said").replaceChildren(...said.map(({ who, human_label, when, note }) =>
      make("li", {}, make("b", { textContent: human_label }), ` — ${who || "somebody"}, ${when}${note ? `: ${note}` : ""}`)));
  }

  async refreshSaid() {
    if (this.row < 0) return;
    const { row } = this;
    const { said } = await api.json(`object/${row}`);
    if (row === this.row) this.listSaid(said);
  }
}
