// Labels and marks: which key says what, of which spectra.

import * as api from "./api.js";
import { $, make } from "./dom.js";

const MARK_KEYS = { i: "interesting", o: "ordinary" };

export class Labels extends EventTarget {
  // Fires "said" with {words, rows}.
  constructor(table) {
    super();
    this.table = table;
    this.rows = () => [];
    $("undo").addEventListener("click", () => this.undo());
    $("names-edit").addEventListener("click", () => {
      const form = $("names");
      form.hidden = !form.hidden;
      $("names-edit").setAttribute("aria-expanded", String(!form.hidden));
      $("names-text").value = table.meta.label_names.join("\n");
      if (!form.hidden) $("names-text").focus();
    });
    $("names").addEventListener("submit", async (event) => {
      event.preventDefault();
      try {
        const answer = await api.send("labels", { names: $("names-text").value.split("\n") }, "PUT");
        table.meta.label_names = (await answer.json()).names;
      } catch (error) {
        this.tell(error.message);
        return;
      }
      $("names").hidden = true;
      $("names-edit").setAttribute("aria-expanded", "false");
      this.list();
      this.dispatchEvent(new CustomEvent("said", { detail: {} }));
    });
    this.list();
  }

  list() {
    const keys = [...this.table.meta.label_names.map((name, i) => [String(i + 1), name]), ...Object.entries(MARK_KEYS)];
    $("keys").replaceChildren(...keys.map(([key, name]) => {
      const button = make("button", { type: "button", className: "entry" },
        make("kbd", { textContent: key }), make("span", { textContent: name }));
      button.addEventListener("click", () => this.say(name));
      return button;
    }));
  }

  // Whether the key meant something here.
  press(key) {
    const name = MARK_KEYS[key] ?? (/^[1-9]$/.test(key) ? this.table.meta.label_names[Number(key) - 1] : undefined);
    if (key === "u") this.undo();
    else if (name) this.say(name);
    else return false;
    return true;
  }

  async say(label) {
    const rows = Array.from(this.rows());
    if (!rows.length) {
      this.tell("Nothing to label: open a spectrum, or select some.");
      return;
    }
    await this.attempt(async () => {
      await api.send("labels", { rows, label });
      return { rows, words: `${rows.length === 1 ? "1 spectrum" : `${rows.length.toLocaleString("en")} spectra`}: ${label}. u takes it back.` };
    });
  }

  async undo() {
    await this.attempt(async () => {
      const { rows } = await (await api.send("undo", {})).json();
      return { rows, words: rows.length ? `Taken back, of ${rows.length.toLocaleString("en")}.` : "Nothing to take back." };
    });
  }

  async attempt(act) {
    try {
      const detail = await act();
      await this.table.refreshSaid();
      this.tell(detail.words);
      this.dispatchEvent(new CustomEvent("said", { detail }));
    } catch (error) {
      this.tell(`Not kept: ${error.message}`);
    }
  }

  tell(words) {
    $("status").textContent = words;
  }
}
