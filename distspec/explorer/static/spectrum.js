// The chart of one spectrum: flux with error band, reconstruction, residuals, named lines, and both wavelength axes.

import { uPlot } from "./libraries.js";
import { number, ticks } from "./dom.js";

const NAMES_HEIGHT = 68; // part of the plot's height for the names of the lines [CSS pixel]
const FONT = '11px system-ui, "DejaVu Sans", sans-serif';

export class SpectrumChart {
  constructor(chart, residual, catalog) {
    Object.assign(this, { chart, residual, catalog, frame: "rest", plots: [] });
    new ResizeObserver(() => this.resize()).observe(chart);
  }

  // spectrum: {flux, ivar, recon: Float32Array, z, norm, name}
  show(spectrum) {
    this.spectrum = spectrum;
    this.paint();
  }

  setFrame(frame) {
    this.frame = frame;
    if (this.spectrum) this.paint();
  }

  // Wavelengths, flux scale and labels in the selected frame.
  axes() {
    const { z, norm } = this.spectrum;
    const observed = this.frame === "observed";
    const last = this.catalog.wave_rest.at(-1);
    const stretch = observed ? 1 + z : 1;
    const micron = observed || last > 1e4;
    const wave = Float64Array.from(this.catalog.wave_rest, (w) => w * stretch * (micron ? 1e-4 : 1));
    const absolute = observed && Number.isFinite(norm) && norm > 0;
    const { norm_wave: normWave } = this.catalog;
    const normText = normWave > 1e4 ? `${number(1e-4 * normWave, 3)} µm` : `${number(normWave)} Å`;
    const power = absolute ? Math.floor(Math.log10(norm / (1 + z))) : 0;
    return {
      wave,
      perAngstrom: stretch * (micron ? 1e-4 : 1), // length of 1 Å of rest wavelength in the unit of this axis
      factor: absolute ? norm / (1 + z) / 10 ** power : 1,
      x: `${observed ? "observed" : "rest"} wavelength [${micron ? "µm" : "Å"}]`,
      other: observed ? `rest wavelength [${last > 1e4 ? "µm" : "Å"}]` : "observed wavelength [µm]",
      // Factor from this axis to the axis of the other frame.
      toOther: observed ? (last > 1e4 ? 1 : 1e4) / stretch : (1 + z) * (micron ? 1 : 1e-4),
      y: absolute ? `fλ [10${superscript(power)} erg s⁻¹ cm⁻² Å⁻¹]` : `fλ / fλ(${normText})`,
      hasOther: z !== 0,
    };
  }

  paint() {
    const { flux, ivar, recon, name } = this.spectrum;
    const axes = this.axes();
    const n = axes.wave.length;
    const columns = Array.from({ length: 5 }, () => new Array(n).fill(null));
    const [upper, lower, data, fitted, reconstruction] = columns;
    const residual = new Array(n).fill(null);
    let first = n;
    let last = -1;
    for (let i = 0; i < n; i++) {
      reconstruction[i] = recon[i] * axes.factor;
      if (!(ivar[i] > 0)) continue;
      const sigma = 1 / Math.sqrt(ivar[i]);
      data[i] = flux[i] * axes.factor;
      upper[i] = (flux[i] + sigma) * axes.factor;
      lower[i] = (flux[i] - sigma) * axes.factor;
      fitted[i] = reconstruction[i];
      residual[i] = (flux[i] - recon[i]) / sigma;
      first = Math.min(first, i);
      last = i;
    }
    const span = last > first ? [axes.wave[first], axes.wave[last]] : [axes.wave[0], axes.wave[n - 1]];
    this.destroy();
    const { colors } = this.catalog;
    const line = (stroke, width, extra = {}) => ({ stroke, width, points: { show: false }, ...extra });
    const sync = { key: "spectrum", setSeries: false, scales: ["x", null] };
    const wave = {
      scale: "x", stroke: "#444", font: FONT, labelFont: FONT, labelSize: 18, size: 24, gap: 3,
      grid: { show: false }, ticks: { size: 4, stroke: "#888" }, values: (_, splits) => splits.map((s) => number(s, 5)),
    };
    const fluxAxis = { stroke: "#444", font: FONT, labelFont: FONT, labelSize: 20, size: 46, gap: 3,
      grid: { stroke: "#eceef1", width: 1 }, ticks: { size: 4, stroke: "#888" },
      values: (_, splits) => splits.map((s) => number(s, 4)) };
    const other = {
      ...wave, side: 0, label: axes.other,
      splits: (u, _, low, high) => ticks(low * axes.toOther, high * axes.toOther, 7).map((t) => t / axes.toOther),
      values: (_, splits) => splits.map((s) => number(s * axes.toOther, 4)),
    };
    const upperChart = new uPlot(
      {
        width: this.width(), height: this.height(), legend: { show: false }, padding: [axes.hasOther ? 0 : 8, 18, 0, 0],
        scales: { x: { time: false, range: (_, low, high) => (low === axes.wave[0] && high === axes.wave[n - 1] ? span : [low, high]) },
          y: { range: (u) => fluxRange(NAMES_HEIGHT + 10, u.bbox.height / devicePixelRatio, data, fitted) } },
        axes: [{ ...wave, label: axes.x }, { ...fluxAxis, label: axes.y }, ...(axes.hasOther ? [other] : [])],
        series: [
          {},
          line("transparent", 0), line("transparent", 0),
          line(colors.data, 0.8),
          line(colors.model, 1.6),
          line(colors.model, 1, { dash: [5, 4] }),
        ],
        bands: [{ series: [1, 2], fill: colors.error }],
        cursor: { drag: { x: true, y: false }, sync, points: { show: false }, y: false },
        hooks: { drawAxes: [(u) => this.drawLines(u, axes)], draw: [(u) => this.drawLineNames(u, axes)] },
      },
      [axes.wave, upper, lower, data, fitted, reconstruction],
      this.chart,
    );
    const lowerChart = new uPlot(
      {
        width: this.width(), height: 96, legend: { show: false }, padding: [6, 18, 0, 0],
        scales: { x: { time: false, range: (_, low, high) => (low === axes.wave[0] && high === axes.wave[n - 1] ? span : [low, high]) },
          y: { range: () => symmetricLimits(residual) } },
        axes: [{ ...wave, size: 8, values: () => [], labelSize: 0 }, { ...fluxAxis, label: "residual / σ", space: 22 }],
        series: [{}, { stroke: colors.data, width: 0, paths: () => null, points: { show: true, size: 2.4, width: 0, fill: colors.data } }],
        cursor: { drag: { x: true, y: false }, sync, points: { show: false }, y: false },
        hooks: { drawAxes: [(u) => drawUnitBand(u, colors)] },
      },
      [axes.wave, residual],
      this.residual,
    );
    this.plots = [upperChart, lowerChart];
    for (const [from, to] of [[upperChart, lowerChart], [lowerChart, upperChart]]) linkZoom(from, to);
    this.chart.setAttribute("aria-label",
      `Spectrum of ${name}: ${axes.y} against ${axes.x}, ${number(span[0])} to ${number(span[1])}, with reconstruction`);
  }

  linesWithin(u, axes) {
    const { min, max } = u.scales.x;
    return Object.entries(this.catalog.lines)
      .map(([name, wave]) => ({ name, x: wave * axes.perAngstrom }))
      .filter(({ x }) => x > min && x < max)
      .map((line) => ({ ...line, u: u.valToPos(line.x, "x", true) }))
      .sort((a, b) => a.u - b.u);
  }

  drawLines(u, axes) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.strokeStyle = "#b6bac1";
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
    for (const line of this.linesWithin(u, axes)) {
      ctx.beginPath();
      ctx.moveTo(line.u, bbox.top + (NAMES_HEIGHT + 8) * devicePixelRatio);
      ctx.lineTo(line.u, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  drawLineNames(u, axes) {
    const { ctx, bbox } = u;
    const spacing = 12 * devicePixelRatio;
    const lines = this.linesWithin(u, axes);
    const positions = spreadLabels(lines.map((line) => line.u), spacing, bbox.left + spacing / 2, bbox.left + bbox.width - spacing / 2);
    ctx.save();
    ctx.font = `${10 * devicePixelRatio}px system-ui, "DejaVu Sans", sans-serif`;
    ctx.fillStyle = "#555";
    ctx.strokeStyle = "#b6bac1";
    ctx.lineWidth = devicePixelRatio;
    ctx.textAlign = "left";
    ctx.textBaseline = "middle";
    const bottom = bbox.top + NAMES_HEIGHT * devicePixelRatio;
    lines.forEach((line, i) => {
      ctx.beginPath();
      ctx.moveTo(line.u, bbox.top + (NAMES_HEIGHT + 8) * devicePixelRatio);
      ctx.lineTo(positions[i], bottom);
      ctx.stroke();
      ctx.save();
      ctx.translate(positions[i], bottom - 2 * devicePixelRatio);
      ctx.rotate(-Math.PI / 2);
      ctx.fillText(line.name, 0, 0);
      ctx.restore();
    });
    ctx.restore();
  }

  width() {
    return Math.max(this.chart.clientWidth, 200);
  }

  height() {
    return Math.round(Math.min(Math.max(0.62 * this.width(), 260), 400));
  }

  resize() {
    if (!this.plots.length) return;
    this.plots[0].setSize({ width: this.width(), height: this.height() });
    this.plots[1].setSize({ width: this.width(), height: 96 });
  }

  destroy() {
    for (const plot of this.plots) plot.destroy();
    this.plots = [];
  }
}

function linkZoom(from, to) {
  from.hooks.setScale = [
    ...(from.hooks.setScale ?? []),
    (u, key) => {
      const { min, max } = u.scales.x;
      if (key === "x" && (to.scales.x.min !== min || to.scales.x.max !== max)) to.setScale("x", { min, max });
    },
  ];
}

function drawUnitBand(u, colors) {
  const { ctx, bbox } = u;
  const [high, low, middle] = [1, -1, 0].map((v) => u.valToPos(v, "y", true));
  ctx.save();
  ctx.fillStyle = colors.error;
  ctx.fillRect(bbox.left, high, bbox.width, low - high);
  ctx.fillStyle = colors.model;
  ctx.fillRect(bbox.left, middle, bbox.width, devicePixelRatio);
  ctx.restore();
}

// Limits that contain all but the most extreme 0.3 % of the pixels, with space for the names of the lines.
function fluxRange(namesHeight, height, ...curves) {
  const parts = curves.map((curve) => curve.filter((v) => v !== null && Number.isFinite(v)).sort((a, b) => a - b)).filter((c) => c.length);
  if (!parts.length) return [0, 1];
  const low = Math.min(...parts.map((c) => c[Math.ceil(0.003 * (c.length - 1))]));
  const high = Math.max(...parts.map((c) => c[Math.floor(0.997 * (c.length - 1))]));
  const pad = 0.1 * (high - low) || 0.5;
  const part = Math.min(namesHeight / Math.max(height, 1), 0.5);
  return [low - pad, high + pad + (part / (1 - part)) * (high - low + 2 * pad)];
}

function symmetricLimits(values) {
  const sizes = values.filter((v) => v !== null && Number.isFinite(v)).map(Math.abs).sort((a, b) => a - b);
  const limit = sizes.length ? Math.min(Math.max(sizes[Math.floor(0.99 * (sizes.length - 1))], 4), 30) : 4;
  return [-limit, limit];
}

// Moves sorted positions as little as possible so that labels do not overlap: isotonic regression of the positions
// minus multiples of the spacing.
export function spreadLabels(positions, spacing, low, high) {
  if (positions.length < 2) return positions;
  const step = Math.min(spacing, (high - low) / (positions.length - 1));
  const blocks = [];
  positions.forEach((p, i) => {
    blocks.push({ sum: p - step * i, n: 1 });
    while (blocks.length > 1 && blocks.at(-2).sum / blocks.at(-2).n > blocks.at(-1).sum / blocks.at(-1).n) {
      const { sum, n } = blocks.pop();
      blocks.at(-1).sum += sum;
      blocks.at(-1).n += n;
    }
  });
  const top = high - step * (positions.length - 1);
  const fitted = blocks.flatMap(({ sum, n }) => new Array(n).fill(Math.min(Math.max(sum / n, low), top)));
  return fitted.map((p, i) => p + step * i);
}

function superscript(power) {
  return String(power).replace("-", "⁻").replace(/\d/g, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]);
}
