// The chart of one spectrum: flux with error band, reconstruction, residuals, named lines, and both wavelength axes.

import { uPlot } from "./libraries.js";
import { buildCurves, fluxRange, frameAxes, overlayCurve, symmetricLimits } from "./curves.js";
import { number, ticks } from "./dom.js";
import { drawLineNames, drawLines, lineMarks, NAMES_HEIGHT } from "./linemarks.js";
import { cssColor } from "./theme.js";

const FONT = '11px system-ui, "DejaVu Sans", sans-serif';
const RESIDUAL_HEIGHT = 96;

export class SpectrumChart {
  constructor(chart, residual, catalog) {
    Object.assign(this, { chart, residual, catalog, frame: "rest", width: 1, overlays: [], plots: [] });
    this.lines = catalog.lines;
    this.lineStretch = 1; // (1 + redshift of the lines) / (1 + z)
    new ResizeObserver(() => this.resize()).observe(chart);
    document.addEventListener("theme", () => this.spectrum && this.paint());
  }

  // spectrum: {flux, ivar, recon: Float32Array, z, norm, name}
  show(spectrum) {
    this.spectrum = spectrum;
    this.paint();
  }

  // Changes frame, width (of the smoothing, in pixels) or overlays ([{…spectrum, color}]).
  set(changes) {
    Object.assign(this, changes);
    if (this.spectrum) this.paint();
  }

  // Changes the lines and the factor of their wavelengths, without drawing the curves anew.
  setLines(lines, stretch) {
    Object.assign(this, { lines, lineStretch: stretch });
    this.plots[0]?.redraw(false);
  }

  marks(u) {
    return lineMarks(u, this.lines, this.axes.perAngstrom * this.lineStretch);
  }

  paint() {
    const { spectrum, catalog, frame } = this;
    this.axes = frameAxes(spectrum, frame, catalog);
    this.curves = buildCurves(spectrum, this.axes, this.width);
    this.others = this.overlays.map((other) => overlayCurve(other, this.axes, frame, catalog, this.width));
    this.destroy();
    this.plots = [this.createChart(), this.createResidual()];
    const [upper, lower] = this.plots;
    for (const [from, to] of [[upper, lower], [lower, upper]]) linkZoom(from, to);
    const { span } = this.curves;
    const others = this.overlays.length ? `, over ${this.overlays.map((other) => other.name).join(", ")}` : "";
    this.chart.setAttribute("aria-label",
      `Spectrum of ${spectrum.name}: ${this.axes.y} against ${this.axes.x}, ${number(span[0])} to ${number(span[1])}, with reconstruction${others}`);
  }

  // The whole wavelength range shows the part with data.
  xScale() {
    const { wave } = this.axes;
    const { span } = this.curves;
    return { time: false, range: (_, low, high) => (low === wave[0] && high === wave.at(-1) ? span : [low, high]) };
  }

  axisStyle() {
    const stroke = cssColor("--axis");
    const ticksStyle = { size: 4, stroke: cssColor("--tick") };
    return {
      wave: { scale: "x", stroke, font: FONT, labelFont: FONT, labelSize: 18, size: 24, gap: 3, grid: { show: false }, ticks: ticksStyle,
        values: (_, splits) => splits.map((s) => number(s, 5)) },
      flux: { stroke, font: FONT, labelFont: FONT, labelSize: 20, size: 46, gap: 3, grid: { stroke: cssColor("--gridline"), width: 1 },
        ticks: ticksStyle, values: (_, splits) => splits.map((s) => number(s, 4)) },
    };
  }

  createChart() {
    const { axes, curves, catalog, others } = this;
    const { colors } = catalog;
    const { wave, flux } = this.axisStyle();
    const line = (stroke, width, extra = {}) => ({ stroke, width, points: { show: false }, ...extra });
    const otherFrame = {
      ...wave, side: 0, label: axes.other,
      splits: (u, _, low, high) => ticks(low * axes.toOther, high * axes.toOther, 7).map((t) => t / axes.toOther),
      values: (_, splits) => splits.map((s) => number(s * axes.toOther, 4)),
    };
    return new uPlot(
      {
        width: this.chartWidth(), height: this.chartHeight(), legend: { show: false }, padding: [axes.hasOther ? 0 : 8, 18, 0, 0],
        scales: { x: this.xScale(),
          y: { range: (u) => fluxRange(NAMES_HEIGHT + 10, u.bbox.height / devicePixelRatio, curves.flux, curves.fitted, ...others) } },
        axes: [{ ...wave, label: axes.x }, { ...flux, label: axes.y }, ...(axes.hasOther ? [otherFrame] : [])],
        series: [
          {},
          line("transparent", 0), line("transparent", 0),
          line(cssColor("--data"), 0.8),
          line(colors.model, 1.6),
          line(colors.model, 1, { dash: [5, 4] }),
          ...this.overlays.map(({ color }) => line(color, 1.2)),
        ],
        bands: [{ series: [1, 2], fill: cssColor("--error") }],
        cursor: cursor(),
        hooks: {
          drawAxes: [(u) => drawLines(u, this.marks(u), cssColor("--mark"))],
          draw: [(u) => drawLineNames(u, this.marks(u), cssColor("--mark"), cssColor("--soft"))],
        },
      },
      [axes.wave, curves.upper, curves.lower, curves.flux, curves.fitted, curves.reconstruction, ...others],
      this.chart,
    );
  }

  createResidual() {
    const { axes, curves } = this;
    const { wave, flux } = this.axisStyle();
    const points = { show: true, size: 2.4, width: 0, fill: cssColor("--data") };
    return new uPlot(
      {
        width: this.chartWidth(), height: RESIDUAL_HEIGHT, legend: { show: false }, padding: [6, 18, 0, 0],
        scales: { x: this.xScale(), y: { range: () => symmetricLimits(curves.residual) } },
        axes: [{ ...wave, size: 8, values: () => [], labelSize: 0 }, { ...flux, label: "residual / σ", space: 22 }],
        series: [{}, { stroke: cssColor("--data"), width: 0, paths: () => null, points }],
        cursor: cursor(),
        hooks: { drawAxes: [(u) => drawUnitBand(u, cssColor("--error"), this.catalog.colors.model)] },
      },
      [axes.wave, curves.residual],
      this.residual,
    );
  }

  chartWidth() {
    return Math.max(this.chart.clientWidth, 200);
  }

  chartHeight() {
    return Math.round(Math.min(Math.max(0.62 * this.chartWidth(), 260), 400));
  }

  resize() {
    if (!this.plots.length) return;
    this.plots[0].setSize({ width: this.chartWidth(), height: this.chartHeight() });
    this.plots[1].setSize({ width: this.chartWidth(), height: RESIDUAL_HEIGHT });
  }

  destroy() {
    for (const plot of this.plots) plot.destroy();
    this.plots = [];
  }
}

const cursor = () => ({ drag: { x: true, y: false }, sync: { key: "spectrum", setSeries: false, scales: ["x", null] }, points: { show: false }, y: false });

function linkZoom(from, to) {
  from.hooks.setScale = [
    ...(from.hooks.setScale ?? []),
    (u, key) => {
      const { min, max } = u.scales.x;
      if (key === "x" && (to.scales.x.min !== min || to.scales.x.max !== max)) to.setScale("x", { min, max });
    },
  ];
}

function drawUnitBand(u, bandColor, lineColor) {
  const { ctx, bbox } = u;
  const [high, low, middle] = [1, -1, 0].map((v) => u.valToPos(v, "y", true));
  ctx.save();
  ctx.fillStyle = bandColor;
  ctx.fillRect(bbox.left, high, bbox.width, low - high);
  ctx.fillStyle = lineColor;
  ctx.fillRect(bbox.left, middle, bbox.width, devicePixelRatio);
  ctx.restore();
}
