// The curves of a spectrum in the selected frame: scaled, smoothed, and those of other spectra on the same wavelengths.

import { number } from "./dom.js";

// Mean over `width` pixels, weighted by the inverse variance; masked pixels stay masked.
export function smooth(flux, ivar, width) {
  if (width <= 1) return { flux, ivar };
  const half = Math.floor(width / 2);
  const smoothed = { flux: new Float64Array(flux.length), ivar: new Float64Array(flux.length) };
  for (let i = 0; i < flux.length; i++) {
    if (!(ivar[i] > 0)) continue;
    let [sum, weights] = [0, 0];
    for (let j = Math.max(0, i - half); j <= Math.min(flux.length - 1, i + half); j++) {
      if (!(ivar[j] > 0)) continue;
      sum += ivar[j] * flux[j];
      weights += ivar[j];
    }
    smoothed.flux[i] = sum / weights;
    smoothed.ivar[i] = weights;
  }
  return smoothed;
}

// Wavelengths, flux scale and labels of a spectrum in a frame: "rest" or "observed".
export function frameAxes({ z, norm }, frame, catalog) {
  const observed = frame === "observed";
  const last = catalog.wave_rest.at(-1);
  const stretch = observed ? 1 + z : 1;
  const micron = observed || last > 1e4;
  const absolute = observed && Number.isFinite(norm) && norm > 0;
  const { norm_wave: normWave } = catalog;
  const normText = normWave > 1e4 ? `${number(1e-4 * normWave, 3)} µm` : `${number(normWave)} Å`;
  const power = absolute ? Math.floor(Math.log10(norm / (1 + z))) : 0;
  return {
    wave: Float64Array.from(catalog.wave_rest, (w) => w * stretch * (micron ? 1e-4 : 1)),
    perAngstrom: stretch * (micron ? 1e-4 : 1), // length of 1 Å of rest wavelength in the unit of this axis
    power,
    absolute,
    factor: absolute ? norm / (1 + z) / 10 ** power : 1,
    x: `${observed ? "observed" : "rest"} wavelength [${micron ? "µm" : "Å"}]`,
    other: observed ? `rest wavelength [${last > 1e4 ? "µm" : "Å"}]` : "observed wavelength [µm]",
    // Factor from this axis to the axis of the other frame.
    toOther: observed ? (last > 1e4 ? 1 : 1e4) / stretch : (1 + z) * (micron ? 1 : 1e-4),
    y: absolute ? `fλ [10${superscript(power)} erg s⁻¹ cm⁻² Å⁻¹]` : `fλ / fλ(${normText})`,
    hasOther: z !== 0,
  };
}

// Columns of the chart: wavelength, band, data, reconstruction where there is data and everywhere; and residuals.
export function buildCurves(spectrum, axes, width) {
  const { ivar, recon } = spectrum;
  const data = smooth(spectrum.flux, ivar, width);
  const model = smooth(recon, ivar, width);
  const n = axes.wave.length;
  const [upper, lower, flux, fitted, reconstruction, residual] = Array.from({ length: 6 }, () => new Array(n).fill(null));
  let [first, last] = [n, -1];
  for (let i = 0; i < n; i++) {
    reconstruction[i] = recon[i] * axes.factor;
    if (!(ivar[i] > 0)) continue;
    const sigma = 1 / Math.sqrt(data.ivar[i]);
    flux[i] = data.flux[i] * axes.factor;
    upper[i] = (data.flux[i] + sigma) * axes.factor;
    lower[i] = (data.flux[i] - sigma) * axes.factor;
    fitted[i] = reconstruction[i];
    residual[i] = (data.flux[i] - model.flux[i]) / sigma;
    first = Math.min(first, i);
    last = i;
  }
  const span = last > first ? [axes.wave[first], axes.wave[last]] : [axes.wave[0], axes.wave[n - 1]];
  return { upper, lower, flux, fitted, reconstruction, residual, span };
}

// The flux of another spectrum at the wavelengths of the axes, null where it has none.
export function overlayCurve(other, axes, frame, catalog, width) {
  const own = frameAxes(other, frame, catalog);
  const { flux, ivar } = smooth(other.flux, other.ivar, width);
  const factor = axes.absolute ? (own.absolute ? own.factor * 10 ** (own.power - axes.power) : NaN) : 1;
  let j = 0;
  return Array.from(axes.wave, (wave) => {
    while (j < own.wave.length - 2 && own.wave[j + 1] < wave) j += 1;
    const fraction = (wave - own.wave[j]) / (own.wave[j + 1] - own.wave[j]);
    const inside = fraction >= 0 && fraction <= 1 && ivar[j] > 0 && ivar[j + 1] > 0;
    const value = (flux[j] + fraction * (flux[j + 1] - flux[j])) * factor;
    return inside && Number.isFinite(value) ? value : null;
  });
}

// Limits that contain all but the most extreme 0.3 % of the pixels, with space for the names of the lines.
export function fluxRange(namesHeight, height, ...curves) {
  const parts = curves.map((curve) => curve.filter((v) => v !== null && Number.isFinite(v)).sort((a, b) => a - b)).filter((c) => c.length);
  if (!parts.length) return [0, 1];
  const low = Math.min(...parts.map((c) => c[Math.ceil(0.003 * (c.length - 1))]));
  const high = Math.max(...parts.map((c) => c[Math.floor(0.997 * (c.length - 1))]));
  const pad = 0.1 * (high - low) || 0.5;
  const part = Math.min(namesHeight / Math.max(height, 1), 0.5);
  return [low - pad, high + pad + (part / (1 - part)) * (high - low + 2 * pad)];
}

export function symmetricLimits(values) {
  const sizes = values.filter((v) => v !== null && Number.isFinite(v)).map(Math.abs).sort((a, b) => a - b);
  const limit = sizes.length ? Math.min(Math.max(sizes[Math.floor(0.99 * (sizes.length - 1))], 4), 30) : 4;
  return [-limit, limit];
}

function superscript(power) {
  return String(power).replace("-", "⁻").replace(/\d/g, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]);
}
