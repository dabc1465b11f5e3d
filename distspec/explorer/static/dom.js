// Access to elements by id, creation of elements, and formatting of numbers. Text is never set as HTML.

export const $ = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const { style, dataset, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  for (const [name, value] of Object.entries(style ?? {})) element.style.setProperty(name, value);
  Object.assign(element.dataset, dataset);
  element.append(...children);
  return element;
}

export const count = (n, one = "spectrum", many = "spectra") => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

export function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return String(value).replace("-", "−");
  const size = Math.abs(value);
  const written = size >= 1e5 || size < 1e-3 ? value.toExponential(digits - 1) : String(Number(value.toPrecision(digits)));
  return written.replaceAll("-", "−");
}

// At most n round numbers between two limits, for the ticks of an axis.
export function ticks(low, high, n = 6) {
  if (!(high > low)) return [low];
  const rough = (high - low) / n;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 2.5, 5].find((factor) => factor * power >= rough) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: Math.max(last - first + 1, 0) }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}
