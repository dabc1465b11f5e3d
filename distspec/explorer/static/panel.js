// The open spectrum: its curves, its row of the catalog, its annotations and the most similar spectra.

import * as api from "./api.js";
import { $, make, number } from "./dom.js";
import { SpectrumChart } from "./spectrum.js";

const LISTED_RANKS = 200; // anomaly ranks up to this one are shown

export class Panel extends EventTarget {
  // Fires "open" with a row when a listed spectrum is clicked, and "shown" with the object that is shown.
  constructor(table, legend) {
    super();
    this.table = table;
    this.legend = legend;
    this.row = -1;
    $("frame").addEventListener("change", (event) => this.chart?.setFrame(event.target.value));
    $("top-anomalies").replaceChildren(
      ...table.catalog.top_anomalies.map((summary) => this.entry(summary, `${number(summary.anomaly_score, 3)} dex`)),
    );
  }

  async open(row) {
    this.row = row;
    const [curves, object] = await Promise.all([api.floats(`spectrum/${row}`), api.json(`object/${row}`)]);
    if (row !== this.row) return; // another spectrum was opened in the meantime
    const { values } = object;
    $("empty").hidden = true;
    $("object").hidden = false;
    this.chart ??= new SpectrumChart($("chart"), $("residual"), this.table.catalog);
    const n = curves.length / 3;
    const [flux, ivar, recon] = [0, 1, 2].map((i) => curves.subarray(i * n, (i + 1) * n));
    this.chart.show({ flux, ivar, recon, z: values.z, norm: values.norm, name: values.object_id });
    this.describe(object);
    this.dispatchEvent(new CustomEvent("shown", { detail: object }));
    requestAnimationFrame(() => {
      performance.mark(`spectrum ${row}`);
      $("panel").dataset.painted = String(row);
    });
  }

  describe({ values, archive_url, neighbors, annotations }) {
    $("name").textContent = values.object_id;
    const hasLink = archive_url.startsWith("https://");
    $("archive-link").hidden = !hasLink;
    if (hasLink) $("archive-link").href = archive_url;
    const rank = values.anomaly_rank <= LISTED_RANKS ? ` (rank ${values.anomaly_rank})` : "";
    const galaxyType = values.galaxy_type && values.galaxy_type !== "unknown"
      ? `${values.galaxy_type} (confidence ${number(values.galaxy_type_confidence, 2)})` : "";
    const parts = [
      values.z === 0 ? "" : `z = ${number(values.z, 5)}`,
      `S/N ${number(values.snr, 3)} per pixel`,
      this.table.className(values.cluster_label),
      galaxyType,
      `anomaly score ${number(values.anomaly_score, 3)} dex${rank}`,
      `stability ${number(values.cluster_stability, 2)}`,
    ];
    $("brief").textContent = parts.filter(Boolean).join("  ·  ");
    $("galaxy-type-reason").textContent = values.galaxy_type_reason ?? "";
    $("galaxy-type-reason").hidden = !values.galaxy_type_reason;
    this.listAnnotations(annotations);
    $("neighbors").replaceChildren(...neighbors.map((summary) => this.entry(summary, number(summary.ln_bayes_factor, 3))));
    const rows = Object.entries(values).map(([name, value]) => {
      const column = this.table.columns.get(name);
      const head = make("th", { scope: "row", textContent: name, title: column?.description ?? "" });
      return make("tr", {}, head, make("td", { textContent: number(value, 6) }), make("td", { textContent: column?.unit ?? "" }));
    });
    $("values").tBodies[0].replaceChildren(...rows);
  }

  // A list item that opens another spectrum.
  entry({ row, object_id, z }, text) {
    const button = make(
      "button", { type: "button", className: "entry" },
      make("i", { className: "dot", style: { background: this.legend.classColor(row) } }),
      make("span", { textContent: object_id, className: "id" }),
      make("span", { className: "n", textContent: `${z ? `z ${number(z, 3)}  ` : ""}${text}` }),
    );
    button.addEventListener("click", () => this.dispatchEvent(new CustomEvent("open", { detail: row })));
    return make("li", {}, button);
  }

  listAnnotations(annotations) {
    $("annotations").replaceChildren(...annotations.map(({ annotator, label, when, note }) =>
      make("li", {}, make("b", { textContent: label }), ` — ${annotator || "unknown annotator"}, ${when}${note ? `: ${note}` : ""}`)));
  }

  async refreshAnnotations() {
    if (this.row < 0) return;
    const { row } = this;
    const { annotations } = await api.json(`object/${row}`);
    if (row === this.row) this.listAnnotations(annotations);
  }
}
