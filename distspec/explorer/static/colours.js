// What colours mean: a ramp for numbers, a palette for categories, grey for what has no value.

export function rgb(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

// Where the palette is used up it starts again, lighter, then darker: up to 27 differ.
export function paletteColour(palette, place) {
  const base = rgb(palette[place % palette.length]);
  const round = Math.floor(place / palette.length) % 3;
  const mixed = base.map((v) => (round === 1 ? v + 0.5 * (255 - v) : round === 2 ? 0.55 * v : v));
  return mixed.map(Math.round);
}

export const css = (colour) => `rgb(${colour.join(" ")})`;

// Limits that leave the wildest two in a hundred out, from a sample.
export function limits(values) {
  const step = Math.max(1, Math.floor(values.length / 20000));
  const some = [];
  for (let i = 0; i < values.length; i += step) if (Number.isFinite(values[i])) some.push(values[i]);
  if (!some.length) return [0, 1];
  some.sort((a, b) => a - b);
  const [low, high] = [some[Math.floor(0.02 * (some.length - 1))], some[Math.ceil(0.98 * (some.length - 1))]];
  return low < high ? [low, high] : [low - 0.5, high + 0.5];
}

export function byNumber(values, [low, high], ramp, none) {
  const shades = ramp.map(rgb);
  const colours = new Uint8Array(4 * values.length);
  for (let i = 0; i < values.length; i++) {
    const part = (values[i] - low) / (high - low);
    const [r, g, b] = Number.isFinite(part)
      ? shades[Math.round(Math.min(Math.max(part, 0), 1) * (shades.length - 1))]
      : none;
    colours.set([r, g, b, 255], 4 * i);
  }
  return colours;
}

// `entries`: Map of value to {colour}.
export function byCategory(values, entries, none) {
  const packed = new Map([...entries].map(([value, { colour }]) => [value, pack(colour)]));
  const other = pack(none);
  const colours = new Uint32Array(values.length);
  for (let i = 0; i < values.length; i++) colours[i] = packed.get(values[i]) ?? other;
  return new Uint8Array(colours.buffer);
}

function pack([r, g, b]) {
  return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
}
