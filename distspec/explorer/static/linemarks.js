// Dotted lines at the wavelengths of spectral features, with names that do not overlap.

export const NAMES_HEIGHT = 68; // part of the plot's height for the names of the lines [CSS pixel]
const SPACING = 12; // smallest distance between two names [CSS pixel]
const GAP = 8; // height between names and lines [CSS pixel]

// Positions of the features within the plot of a chart: [{name, u, label}], u and label [device pixel of the canvas].
export function lineMarks(u, lines, perAngstrom) {
  const { min, max } = u.scales.x;
  const marks = Object.entries(lines)
    .map(([name, wave]) => ({ name, x: wave * perAngstrom }))
    .filter(({ x }) => x > min && x < max)
    .map(({ name, x }) => ({ name, u: u.valToPos(x, "x", true) }))
    .sort((a, b) => a.u - b.u);
  const spacing = SPACING * devicePixelRatio;
  const { left, width } = u.bbox;
  const labels = spreadLabels(marks.map((mark) => mark.u), spacing, left + spacing / 2, left + width - spacing / 2);
  return marks.map((mark, i) => ({ ...mark, label: labels[i] }));
}

// Ends of the parts of the marks below the upper edge of the plot [CSS pixel].
export const markHeights = { names: NAMES_HEIGHT - 2, bend: NAMES_HEIGHT, line: NAMES_HEIGHT + GAP };

export function drawLines(u, marks, color) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.strokeStyle = color;
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
  for (const mark of marks) {
    ctx.beginPath();
    ctx.moveTo(mark.u, bbox.top + markHeights.line * devicePixelRatio);
    ctx.lineTo(mark.u, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

export function drawLineNames(u, marks, color, textColor) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.font = `${10 * devicePixelRatio}px system-ui, "DejaVu Sans", sans-serif`;
  ctx.fillStyle = textColor;
  ctx.strokeStyle = color;
  ctx.lineWidth = devicePixelRatio;
  ctx.textAlign = "left";
  ctx.textBaseline = "middle";
  for (const mark of marks) {
    ctx.beginPath();
    ctx.moveTo(mark.u, bbox.top + markHeights.line * devicePixelRatio);
    ctx.lineTo(mark.label, bbox.top + markHeights.bend * devicePixelRatio);
    ctx.stroke();
    ctx.save();
    ctx.translate(mark.label, bbox.top + markHeights.names * devicePixelRatio);
    ctx.rotate(-Math.PI / 2);
    ctx.fillText(mark.name, 0, 0);
    ctx.restore();
  }
  ctx.restore();
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
