// Labels and marks: keys and buttons that annotate spectra, and undo.

import * as api from "./api.js";
import { $, count, make } from "./dom.js";

const MARK_KEYS = { i: "interesting", o: "ordinary" };

export class Labels extends EventTarget {
  // Fires "annotated".
  constructor(table) {
    super();
    this.table = table;
    this.rows = () => [];
    $("undo").addEventListener("click", () => this.undo());
    $("names-edit").addEventListener("click", () => {
      const form = $("names");
      form.hidden = !form.hidden;
      $("names-edit").setAttribute("aria-expanded", String(!form.hidden));
      $("names-text").value = table.catalog.label_names.join("\n");
      if (!form.hidden) $("names-text").focus();
    });
    $("names").addEventListener("submit", async (event) => {
      event.preventDefault();
      try {
        const response = await api.send("labels", { names: $("names-text").value.split("\n") }, "PUT");
        table.catalog.label_names = (await response.json()).names;
      } catch (error) {
        this.showStatus(error.message);
        return;
      }
      $("names").hidden = true;
      $("names-edit").setAttribute("aria-expanded", "false");
      this.showKeys();
      this.dispatchEvent(new Event("annotated"));
    });
    this.showKeys();
  }

  showKeys() {
    const names = this.table.catalog.label_names;
    const keys = [...names.map((name, i) => [String(i + 1), name]), ...Object.entries(MARK_KEYS)];
    $("keys").replaceChildren(...keys.map(([key, name]) => {
      const button = make("button", { type: "button", className: "entry" },
        make("kbd", { textContent: key }), make("span", { textContent: name }));
      button.addEventListener("click", () => this.annotate(name));
      return button;
    }));
  }

  // Returns whether the key has a meaning here.
  press(key) {
    const names = this.table.catalog.label_names;
    const name = MARK_KEYS[key] ?? (/^[1-9]$/.test(key) ? names[Number(key) - 1] : undefined);
    if (key === "u") this.undo();
    else if (name) this.annotate(name);
    else return false;
    return true;
  }

  async annotate(label) {
    const rows = Array.from(this.rows());
    if (!rows.length) {
      this.showStatus("No spectrum to label: open one or select some.");
      return;
    }
    await this.run(async () => {
      await api.send("labels", { rows, label });
      return `${count(rows.length)}: ${label}. Press u to undo.`;
    });
  }

  async undo() {
    await this.run(async () => {
      const { rows } = await (await api.send("undo", {})).json();
      return rows.length ? `Undone for ${count(rows.length)}.` : "Nothing to undo.";
    });
  }

  // Runs an action that returns a status message, then reads all annotations again.
  async run(action) {
    try {
      const message = await action();
      await this.table.refreshAnnotations();
      this.showStatus(message);
      this.dispatchEvent(new Event("annotated"));
    } catch (error) {
      this.showStatus(`Not saved: ${error.message}`);
    }
  }

  showStatus(message) {
    $("status").textContent = message;
  }
}
