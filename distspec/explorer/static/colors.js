// Colors: a sequential scale for numbers, a palette for categories, gray for missing values.

import { isDark } from "./theme.js";

export function parseHex(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

// The palette, lighter on a dark page. It repeats in a lighter and then in a darker version, so that up to 27 colors
// differ.
export function paletteColor(palette, index) {
  const light = isDark() ? 0.35 : 0;
  const base = parseHex(palette[index % palette.length]).map((v) => v + light * (255 - v));
  const repetition = Math.floor(index / palette.length) % 3;
  const mixed = base.map((v) => (repetition === 1 ? v + 0.5 * (255 - v) : repetition === 2 ? 0.55 * v : v));
  return mixed.map(Math.round);
}

export const toCss = (color) => `rgb(${color.join(" ")})`;

// The 2nd and 98th percentile of a sample of the values.
export function colorLimits(values) {
  const step = Math.max(1, Math.floor(values.length / 20000));
  const sample = [];
  for (let i = 0; i < values.length; i += step) if (Number.isFinite(values[i])) sample.push(values[i]);
  if (!sample.length) return [0, 1];
  sample.sort((a, b) => a - b);
  const [low, high] = [sample[Math.floor(0.02 * (sample.length - 1))], sample[Math.ceil(0.98 * (sample.length - 1))]];
  return low < high ? [low, high] : [low - 0.5, high + 0.5];
}

export function colorByNumber(values, [low, high], scale, none) {
  const steps = scale.map(parseHex);
  const colors = new Uint8Array(4 * values.length);
  for (let i = 0; i < values.length; i++) {
    const fraction = (values[i] - low) / (high - low);
    const [r, g, b] = Number.isFinite(fraction)
      ? steps[Math.round(Math.min(Math.max(fraction, 0), 1) * (steps.length - 1))]
      : none;
    colors.set([r, g, b, 255], 4 * i);
  }
  return colors;
}

// `entries`: Map of value to {color}.
export function colorByCategory(values, entries, none) {
  const packed = new Map([...entries].map(([value, { color }]) => [value, pack(color)]));
  const other = pack(none);
  const colors = new Uint32Array(values.length);
  for (let i = 0; i < values.length; i++) colors[i] = packed.get(values[i]) ?? other;
  return new Uint8Array(colors.buffer);
}

function pack([r, g, b]) {
  return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
}
