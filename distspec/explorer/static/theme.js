// Light or dark colors: those of the system until the user chooses. Style sheets define the colors as variables.

import { $ } from "./dom.js";

const THEMES = ["system", "light", "dark"];
const resolved = new Map();
const probe = document.createElement("span");

export const isDark = () => getComputedStyle(document.documentElement).colorScheme === "dark"
  || (document.documentElement.dataset.theme ?? "system") === "system" && matchMedia("(prefers-color-scheme: dark)").matches;

// The value of a color variable of the style sheet, as rgb(…); canvases cannot use variables.
export function cssColor(name) {
  if (!resolved.has(name)) {
    if (!probe.isConnected) document.body.append(probe);
    probe.style.setProperty("color", `var(${name})`);
    resolved.set(name, getComputedStyle(probe).color);
  }
  return resolved.get(name);
}

export const cssFractions = (name) => cssColor(name).match(/[\d.]+/g).slice(0, 3).map((v) => Number(v) / 255);

function apply(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  $("theme").textContent = `Colors: ${theme}`;
  resolved.clear();
  document.dispatchEvent(new Event("theme"));
}

// Frames of other pages may have no storage.
function stored() {
  try {
    return localStorage.getItem("theme") ?? "system";
  } catch {
    return "system";
  }
}

export function startTheme() {
  let theme = THEMES.includes(stored()) ? stored() : "system";
  apply(theme);
  $("theme").addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    try {
      localStorage.setItem("theme", theme);
    } catch {
      /* the choice lasts until the page is closed */
    }
    apply(theme);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => apply(theme));
}
