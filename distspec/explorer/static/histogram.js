// A histogram of a column, in which dragging selects a range.

import { make, number } from "./dom.js";
import { cssColor } from "./theme.js";

const BINS = 60;
const HEIGHT = 44; // [CSS pixel]
const EDGE = 0.002; // fraction of the values beyond either end

export class Histogram extends EventTarget {
  // Fires "range" with [low, high], or null if the range is cleared.
  constructor(name) {
    super();
    this.canvas = make("canvas", { className: "histogram", title: "Drag to select a range; click to clear it" });
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `Histogram of ${name}; drag to select a range`);
    this.range = null;
    this.listen();
  }

  setValues(values) {
    this.values = values;
    const finite = values.filter(Number.isFinite).sort();
    const at = (fraction) => finite[Math.round(fraction * (finite.length - 1))] ?? 0;
    this.low = at(EDGE);
    this.high = at(1 - EDGE) > this.low ? at(1 - EDGE) : this.low + 1;
    this.all = this.count(null);
    this.draw(this.all);
  }

  // The number of visible rows in each bin; null counts all.
  count(visible) {
    const counts = new Uint32Array(BINS);
    const scale = BINS / (this.high - this.low);
    for (let row = 0; row < this.values.length; row++) {
      if (visible && !visible[row]) continue;
      const bin = Math.floor((this.values[row] - this.low) * scale);
      if (bin >= 0 && bin <= BINS) counts[Math.min(bin, BINS - 1)] += 1;
    }
    return counts;
  }

  show(visible) {
    if (this.values) this.draw(this.count(visible));
  }

  draw(counts) {
    const { canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth || 200;
    [canvas.width, canvas.height] = [width * ratio, HEIGHT * ratio];
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const top = Math.sqrt(Math.max(...this.all, 1)); // square root, so that small bins are visible
    const bars = (values, color) => {
      context.fillStyle = color;
      values.forEach((n, i) => {
        const height = n ? Math.max((HEIGHT - 2) * (Math.sqrt(n) / top), 1) : 0;
        context.fillRect((i * width) / BINS, HEIGHT - height, width / BINS - 0.5, height);
      });
    };
    bars(this.all, cssColor("--line"));
    bars(counts, cssColor("--accent"));
    if (this.range) {
      const [from, to] = this.range.map((value) => Math.min(Math.max(((value - this.low) / (this.high - this.low)) * width, 0), width));
      context.strokeStyle = cssColor("--model");
      context.strokeRect(from + 0.5, 0.5, Math.max(to - from - 1, 1), HEIGHT - 1);
    }
    this.last = counts;
  }

  redraw() {
    if (this.last) this.draw(this.last);
  }

  listen() {
    const { canvas } = this;
    const valueAt = (event) => {
      const box = canvas.getBoundingClientRect();
      const fraction = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
      return this.low + fraction * (this.high - this.low);
    };
    let start = null;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      start = { value: valueAt(event), u: event.clientX };
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!start || !this.last) return;
      this.range = [start.value, valueAt(event)].sort((a, b) => a - b);
      this.draw(this.last);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (!start) return;
      const moved = Math.abs(event.clientX - start.u) > 3;
      const range = [start.value, valueAt(event)].sort((a, b) => a - b).map((value) => Number(value.toPrecision(4)));
      start = null;
      this.dispatchEvent(new CustomEvent("range", { detail: moved ? range : null }));
    });
    canvas.addEventListener("pointercancel", () => (start = null));
  }

  // The ends of the histogram, as text.
  ends() {
    return [number(this.low, 3), number(this.high, 3)];
  }
}
