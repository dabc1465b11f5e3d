// The redshift that the model has measured for the open spectrum: p(z), and its solutions as places for the lines.

import { $, make, number, ticks } from "./dom.js";

const WIDTH = 320; // of the plot of p(z) [unit of its view box]
const HEIGHT = 46;
const RESEMBLANCE = {
  galaxy: "resembles a galaxy.", noise: "nothing in it is told from noise.", other: "resembles no galaxy that the model knows.",
};
const SVG = "http://www.w3.org/2000/svg";

function draw(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

// Limits of the axis [ln(1 + z)]: all solutions and the redshift of the archive, with a margin.
function limits(redshifts) {
  const x = redshifts.filter(Number.isFinite).map(Math.log1p);
  const margin = 0.05 * (Math.max(...x) - Math.min(...x)) + 0.01;
  return [Math.min(...x) - margin, Math.max(...x) + margin];
}

export class Redshift extends EventTarget {
  // Fires "choose" with a redshift at which the lines are to be shown.
  constructor() {
    super();
    this.values = {};
  }

  // Shows what the row of the catalog has; p(z) follows with `plot`.
  show(values) {
    this.values = values;
    $("redshift").hidden = !Number.isFinite(values.z_model);
    $("redshift-density").replaceChildren();
    if ($("redshift").hidden) return;
    const doubt = Number.isFinite(values.p_outlier) ? ` Probability that the archive's redshift is wrong: ${values.p_outlier.toFixed(3)}.` : "";
    const source = values.z_source === "model" ? " The spectrum is used at this redshift, because the archive has none that is trusted." : "";
    $("redshift-text").textContent = `Redshift by the model: ${number(values.z_model, 5)} (${number(values.z_model_p16, 5)}–${number(values.z_model_p84, 5)}); ${RESEMBLANCE[values.z_class] ?? ""}${doubt}${source}`;
    const solutions = [["Lines at z", values.z], ["at the model's", values.z_model], ["at its second solution", values.z_model_second]];
    $("redshift-solutions").replaceChildren(...solutions.filter(([, z]) => Number.isFinite(z)).map(([text, z]) => {
      const button = make("button", { type: "button", textContent: `${text}: ${z.toFixed(3)}` });
      button.addEventListener("click", () => this.dispatchEvent(new CustomEvent("choose", { detail: z })));
      return button;
    }));
  }

  // Draws p(z): bars at redshifts, a mark at the redshift of the catalog.
  plot(z, probability) {
    if ($("redshift").hidden || !z.length) return;
    const [low, high] = limits([...z, this.values.z, this.values.z_model]);
    const x = (value) => ((Math.log1p(value) - low) / (high - low)) * WIDTH;
    const highest = Math.max(...probability);
    const bars = z.map((value, i) => {
      const top = HEIGHT * (1 - probability[i] / highest);
      return draw("line", { x1: x(value), x2: x(value), y1: HEIGHT, y2: Math.min(top, HEIGHT - 1), class: "density" });
    });
    const mark = draw("line", { x1: x(this.values.z), x2: x(this.values.z), y1: 0, y2: HEIGHT, class: "archive" });
    const labels = ticks(Math.expm1(low), Math.expm1(high), 5).filter((value) => value > -1).map((value) => {
      const label = draw("text", { x: x(value), y: HEIGHT + 12, "text-anchor": "middle" });
      label.textContent = number(value, 3);
      return label;
    });
    const plot = draw("svg", { viewBox: `-14 0 ${WIDTH + 28} ${HEIGHT + 15}`, role: "img", "aria-label": "Probability of each redshift" });
    plot.append(draw("line", { x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT, class: "axis" }), ...bars, mark, ...labels);
    $("redshift-density").replaceChildren(plot);
  }
}
