// Files that the page saves: plots and spectra, and exported tables.

import * as api from "./api.js";
import { $, count, make } from "./dom.js";
import { buildFigure, toCanvas, toSvg } from "./figure.js";

const ENDINGS = { csv: "csv", parquet: "parquet", votable: "vot" };

function save(blob, name) {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name.replace(/[^\w.+-]+/g, "_") }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// Saves the open spectrum: as a plot of the chart, or its pixels in the frame that is shown.
export async function saveSpectrum(panel, format) {
  const { chart, row } = panel;
  const name = `${chart.spectrum.name}.${format}`;
  if (format === "svg") save(new Blob([toSvg(buildFigure(chart))], { type: "image/svg+xml" }), name);
  else if (format === "png") toCanvas(buildFigure(chart)).toBlob((blob) => save(blob, name));
  else save(await api.blob(`spectrum/${row}/${format}?frame=${chart.frame}`), name);
}

// The controls that export tables. `rowsOf`: the rows of "selection" or "shown".
export class Export {
  constructor(table, rowsOf, showStatus) {
    Object.assign(this, { table, rowsOf, showStatus });
    $("export").addEventListener("click", () => this.run("Not exported", () => this.saveTable()));
    $("share").addEventListener("click", () => this.run("No address", () => this.share()));
    $("export-rows").addEventListener("change", () => this.refresh());
    this.refresh();
  }

  // Switches the buttons off while nothing is selected.
  refresh() {
    for (const id of ["export", "share"]) $(id).disabled = this.rows() !== "all" && !this.rows().length;
  }

  rows() {
    const which = $("export-rows").value;
    return which === "all" ? "all" : Array.from(this.rowsOf(which));
  }

  async run(failure, action) {
    try {
      this.showStatus(await action());
    } catch (error) {
      this.showStatus(`${failure}: ${error.message}`);
    }
  }

  async saveTable() {
    const rows = this.rows();
    const format = $("export-format").value;
    const response = await api.send("export", { rows, format });
    save(await response.blob(), `distspec-${this.table.catalog.run_id}-${$("export-rows").value}.${ENDINGS[format]}`);
    return `Exported ${count(rows === "all" ? this.table.n : rows.length)}.`;
  }

  async share() {
    const response = await api.send("tables", { rows: this.rows() });
    const { url } = await response.json();
    return `TOPCAT and other programs on this machine open ${url} while the explorer runs.`;
  }
}
