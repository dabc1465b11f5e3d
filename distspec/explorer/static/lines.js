// Which lines are marked in the spectrum, and at which redshift.

import { $, make, number } from "./dom.js";

const STANDARD = "lines of the archive";
const MAX_Z = 15;

export class Lines extends EventTarget {
  // Fires "change" when other lines or another redshift are chosen.
  constructor(catalog) {
    super();
    this.lists = new Map([[STANDARD, catalog.lines], ...Object.entries(catalog.line_lists), ["none", {}]]);
    this.z = 0;
    $("line-list").replaceChildren(...[...this.lists.keys()].map((name) => make("option", { value: name, textContent: name })));
    $("line-list").addEventListener("change", () => this.fire());
    $("line-z-slider").max = Math.log1p(MAX_Z);
    $("line-z-slider").addEventListener("input", () => this.setTrial(Math.expm1($("line-z-slider").valueAsNumber)));
    $("line-z").addEventListener("change", () => this.setTrial($("line-z").valueAsNumber));
    $("line-z-reset").addEventListener("click", () => this.setTrial(this.z));
  }

  // The redshift of the open spectrum; the lines are shown at it until another one is chosen.
  setRedshift(z) {
    this.z = z;
    this.setTrial(z);
  }

  setTrial(z) {
    this.trial = Number.isFinite(z) && z > -1 ? z : this.z;
    $("line-z").value = this.trial.toFixed(4);
    $("line-z-slider").valueAsNumber = Math.log1p(this.trial);
    $("line-z-slider").setAttribute("aria-valuetext", `redshift ${number(this.trial, 5)}`);
    $("line-z-reset").disabled = this.trial === this.z;
    this.fire();
  }

  get name() {
    return $("line-list").value;
  }

  set name(name) {
    if (this.lists.has(name)) $("line-list").value = name;
    this.fire();
  }

  get isDefault() {
    return this.name === STANDARD;
  }

  // Factor of the wavelengths of the lines in the frame of the spectrum.
  get stretch() {
    return (1 + this.trial) / (1 + this.z);
  }

  get lines() {
    return this.lists.get(this.name);
  }

  fire() {
    this.dispatchEvent(new Event("change"));
  }
}
