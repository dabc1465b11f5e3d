// The charts of a spectrum as a figure for a page: SVG, or PNG at three times the resolution of the screen.

import { markHeights } from "./linemarks.js";

const FONT = "DejaVu Sans, Helvetica, Arial, sans-serif";
const SIZE = 11; // of the letters [pixel]
const INK = "#222222";
const TITLE_HEIGHT = 24; // [pixel]

// The figure as shapes: {width, height, shapes: [{kind: "path" | "text", …}]}; lengths in CSS pixels.
export function buildFigure(chart) {
  const { colors } = chart.catalog;
  const [upper, lower] = chart.plots;
  const shapes = [{ kind: "text", text: chart.spectrum.name, x: upper.bbox.left / devicePixelRatio, y: 14, color: INK, size: SIZE + 2 }];
  addBand(shapes, upper, TITLE_HEIGHT, 1, 2, colors.error);
  addMarks(shapes, upper, TITLE_HEIGHT, chart.marks(upper));
  const styles = [[3, colors.data, 0.8], [5, colors.model, 1, [5, 4]], [4, colors.model, 1.6],
    ...chart.overlays.map(({ color }, i) => [6 + i, color, 1.2])];
  for (const [series, color, width, dash] of styles) addCurve(shapes, upper, TITLE_HEIGHT, series, { color, width, dash });
  addAxes(shapes, upper, TITLE_HEIGHT);
  const top = TITLE_HEIGHT + upper.height;
  addUnitBand(shapes, lower, top, colors);
  addPoints(shapes, lower, top, colors.data);
  addAxes(shapes, lower, top);
  return { width: upper.width, height: top + lower.height + 8, shapes };
}

const plotBox = (u, top) => {
  const [left, upper, width, height] = ["left", "top", "width", "height"].map((name) => u.bbox[name] / devicePixelRatio);
  return { left, top: top + upper, width, height, right: left + width, bottom: top + upper + height };
};
const xAt = (u, box, value) => box.left + u.valToPos(value, "x");
const yAt = (u, box, value) => box.top + Math.min(Math.max(u.valToPos(value, "y"), 0), box.height);

// Runs of pixels that have values and lie in view, as [[x, y], …].
function runs(u, box, values) {
  const { min, max } = u.scales.x;
  const found = [];
  let run = [];
  u.data[0].forEach((wave, i) => {
    if (values[i] !== null && values[i] !== undefined && wave >= min && wave <= max) run.push([xAt(u, box, wave), yAt(u, box, values[i])]);
    else if (run.length) [found[found.length], run] = [run, []];
  });
  return run.length ? [...found, run] : found;
}

function addCurve(shapes, u, top, series, { color, width, dash }) {
  const points = runs(u, plotBox(u, top), u.data[series]);
  if (points.length) shapes.push({ kind: "path", lines: points, color, width, dash });
}

function addBand(shapes, u, top, high, low, color) {
  const box = plotBox(u, top);
  const [above, below] = [high, low].map((series) => runs(u, box, u.data[series]));
  above.forEach((run, i) => shapes.push({ kind: "path", lines: [[...run, ...below[i].toReversed()]], fill: color }));
}

function addMarks(shapes, u, top, marks) {
  const box = plotBox(u, top);
  for (const mark of marks) {
    const [x, label] = [mark.u / devicePixelRatio, mark.label / devicePixelRatio];
    const [names, bend, line] = ["names", "bend", "line"].map((name) => box.top + markHeights[name]);
    shapes.push({ kind: "path", lines: [[[label, bend], [x, line]]], color: "#b6bac1", width: 1 });
    shapes.push({ kind: "path", lines: [[[x, line], [x, box.bottom]]], color: "#b6bac1", width: 1, dash: [2, 3] });
    shapes.push({ kind: "text", text: mark.name, x: label, y: names, color: "#555555", size: 10, turned: true, baseline: "middle" });
  }
}

function addUnitBand(shapes, u, top, colors) {
  const box = plotBox(u, top);
  const [high, low, middle] = [1, -1, 0].map((value) => yAt(u, box, value));
  shapes.push({ kind: "path", lines: [[[box.left, high], [box.right, high], [box.right, low], [box.left, low]]], fill: colors.error });
  shapes.push({ kind: "path", lines: [[[box.left, middle], [box.right, middle]]], color: colors.model, width: 1 });
}

function addPoints(shapes, u, top, color) {
  const r = 1.2;
  for (const run of runs(u, plotBox(u, top), u.data[1])) for (const [x, y] of run) {
    shapes.push({ kind: "path", lines: [[[x - r, y - r], [x + r, y - r], [x + r, y + r], [x - r, y + r]]], fill: color });
  }
}

// Frame, ticks, their values and the labels of a chart's axes; sides are 0: top, 2: bottom, 3: left.
function addAxes(shapes, u, top) {
  const box = plotBox(u, top);
  const corners = [[box.left, box.top], [box.right, box.top], [box.right, box.bottom], [box.left, box.bottom], [box.left, box.top]];
  shapes.push({ kind: "path", lines: [corners], color: INK, width: 0.8 });
  for (const axis of u.axes) {
    const values = axis._values ?? [];
    (axis._splits ?? []).forEach((split, i) => {
      const inward = { 0: [0, 4], 2: [0, -4], 3: [4, 0] }[axis.side];
      const at = axis.side === 3 ? [box.left, yAt(u, box, split)] : [xAt(u, box, split), axis.side === 0 ? box.top : box.bottom];
      if (at[0] < box.left - 0.5 || at[0] > box.right + 0.5) return;
      shapes.push({ kind: "path", lines: [[at, [at[0] + inward[0], at[1] + inward[1]]]], color: INK, width: 0.8 });
      if (!values[i]) return;
      const place = { 0: [at[0], box.top - 6, "middle"], 2: [at[0], box.bottom + 15, "middle"], 3: [box.left - 6, at[1] + 4, "end"] }[axis.side];
      shapes.push({ kind: "text", text: String(values[i]), x: place[0], y: place[1], anchor: place[2], color: INK, size: SIZE });
    });
    if (!axis.label) continue;
    const [centerX, centerY] = [box.left + box.width / 2, box.top + box.height / 2];
    const place = { 0: [centerX, box.top - 22], 2: [centerX, box.bottom + 32], 3: [14, centerY] }[axis.side];
    shapes.push({ kind: "text", text: axis.label, x: place[0], y: place[1], anchor: "middle", color: INK, size: SIZE, turned: axis.side === 3 });
  }
}

const escapeXml = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
const round = (value) => Number(value.toFixed(2));

export function toSvg({ width, height, shapes }) {
  const parts = shapes.map((shape) => {
    if (shape.kind === "text") {
      const turn = shape.turned ? ` transform="rotate(-90 ${round(shape.x)} ${round(shape.y)})"` : "";
      const baseline = shape.baseline ? ` dominant-baseline="${shape.baseline}"` : "";
      return `<text x="${round(shape.x)}" y="${round(shape.y)}" font-size="${shape.size}" fill="${shape.color}" `
        + `text-anchor="${shape.anchor ?? "start"}"${baseline}${turn}>${escapeXml(shape.text)}</text>`;
    }
    const path = shape.lines.map((line) => `M${line.map(([x, y]) => `${round(x)} ${round(y)}`).join("L")}${shape.fill ? "Z" : ""}`).join("");
    const dash = shape.dash ? ` stroke-dasharray="${shape.dash.join(" ")}"` : "";
    return shape.fill ? `<path d="${path}" fill="${shape.fill}"/>`
      : `<path d="${path}" fill="none" stroke="${shape.color}" stroke-width="${shape.width}"${dash}/>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="${FONT}">`
    + `<rect width="100%" height="100%" fill="#ffffff"/>${parts.join("\n")}</svg>\n`;
}

export function toCanvas({ width, height, shapes }, scale = 3) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, width, height);
  for (const shape of shapes) {
    if (shape.kind === "text") drawText(context, shape);
    else drawPath(context, shape);
  }
  return canvas;
}

function drawText(context, { text, x, y, color, size, anchor, turned, baseline }) {
  context.save();
  context.translate(x, y);
  if (turned) context.rotate(-Math.PI / 2);
  context.font = `${size}px ${FONT}`;
  context.fillStyle = color;
  context.textAlign = { middle: "center", end: "right" }[anchor] ?? "left";
  context.textBaseline = baseline ?? "alphabetic";
  context.fillText(text, 0, 0);
  context.restore();
}

function drawPath(context, { lines, color, width, dash, fill }) {
  context.beginPath();
  for (const line of lines) line.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.setLineDash(dash ?? []);
  if (fill) {
    context.closePath();
    context.fillStyle = fill;
    context.fill();
  } else {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.stroke();
  }
}
