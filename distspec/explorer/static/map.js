// The map: moving about it, what lies under the pointer, and the lasso.

import { KDBush } from "./libraries.js";
import { Points } from "./points.js";

const REACH = 12; // [CSS pixel] how near a point must be to be meant
const DRAG = 4; // [CSS pixel] less is a click

export class ScatterMap extends EventTarget {
  // Fires "hover" and "click" with the row (or -1), "lasso" with a Uint32Array of rows.
  constructor(element, x, y) {
    super();
    this.element = element;
    this.canvas = element.querySelector("#points");
    this.over = element.querySelector("#over");
    this.x = x;
    this.y = y;
    this.visible = new Uint8Array(x.length).fill(1);
    this.rings = [];
    this.lassoing = false;
    this.path = null;
    this.points = new Points(this.canvas, x, y);
    this.order = shuffled(x, y);
    this.view = { x: 0, y: 0, scale: 1, width: 1, height: 1 };
    this.fit();
    new ResizeObserver(() => this.resize()).observe(element);
    this.listen();
  }

  get index() {
    if (!this._index) {
      this._index = new KDBush(this.order.length, 64, Float32Array);
      for (const row of this.order) this._index.add(this.x[row], this.y[row]);
      this._index.finish();
    }
    return this._index;
  }

  get dotSize() {
    const closeness = Math.log2(this.view.scale / this.whole);
    const base = this.order.length > 3e5 ? 1.5 : this.order.length > 3e4 ? 2 : 4.5;
    return Math.min(Math.max(base * 2 ** (0.45 * closeness), 1), 11);
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height || (width === this.view.width && height === this.view.height)) return;
    const ratio = window.devicePixelRatio || 1;
    for (const canvas of [this.canvas, this.over]) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const fitted = this.view.scale === this.whole;
    Object.assign(this.view, { width, height });
    this.measure();
    if (fitted) this.fit();
    this.draw();
  }

  measure() {
    if (!this.box) {
      const box = [Infinity, -Infinity, Infinity, -Infinity];
      for (const row of this.order) {
        box[0] = Math.min(box[0], this.x[row]);
        box[1] = Math.max(box[1], this.x[row]);
        box[2] = Math.min(box[2], this.y[row]);
        box[3] = Math.max(box[3], this.y[row]);
      }
      this.box = this.order.length ? box : [0, 1, 0, 1];
    }
    const [left, right, low, high] = this.box;
    const { width, height } = this.view;
    this.whole = 0.9 * Math.min(width / (right - left || 1), height / (high - low || 1));
  }

  fit() {
    const { clientWidth: width, clientHeight: height } = this.element;
    Object.assign(this.view, { width: width || 1, height: height || 1 });
    const ratio = window.devicePixelRatio || 1;
    for (const canvas of [this.canvas, this.over]) {
      canvas.width = Math.round(this.view.width * ratio);
      canvas.height = Math.round(this.view.height * ratio);
    }
    this.measure();
    const [left, right, low, high] = this.box;
    Object.assign(this.view, { x: (left + right) / 2, y: (low + high) / 2, scale: this.whole });
  }

  // What is drawn: rows that filters let through, and those chosen among them.
  show(visible, chosen) {
    this.visible = visible;
    this.chosen = chosen;
    this.layout();
  }

  layout() {
    const size = this.dotSize;
    const faint = new Uint32Array(this.order.length);
    const clear = new Uint32Array(this.order.length);
    let n = 0;
    let m = 0;
    for (const row of this.order) {
      if (this.visible[row]) clear[n++] = row;
      else faint[m++] = row;
    }
    const chosen = this.chosen ?? new Uint32Array();
    this.size = size;
    this.points.layer([
      { rows: faint.subarray(0, m), size: size * 0.8, tint: [0.9, 0.91, 0.92, 1] },
      { rows: clear.subarray(0, n), size },
      { rows: chosen, size: size + 4, tint: [0.1, 0.1, 0.1, 1] },
      { rows: chosen, size: size + 1 },
    ]);
    this.draw();
  }

  colour(colours) {
    this.points.colour(colours);
    this.draw();
  }

  ring(rings) {
    this.rings = rings;
    this.draw(false);
  }

  // Rings and the lasso lie on a canvas of their own: for them the points need not be drawn again.
  draw(points = true) {
    this.stale ||= points;
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      if (this.points.layers.length && Math.abs(this.dotSize - this.size) > 0.3) this.layout();
      if (this.stale) this.points.draw(this.view);
      this.stale = false;
      this.drawOver();
      for (const name of ["x", "y", "scale"]) this.element.dataset[name] = this.view[name];
    });
  }

  drawOver() {
    const ratio = this.over.width / this.view.width;
    const pen = this.over.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, this.view.width, this.view.height);
    for (const { row, radius, colour, width } of this.rings) {
      const [u, v] = this.toScreen(this.x[row], this.y[row]);
      pen.beginPath();
      pen.arc(u, v, radius + this.size / 2, 0, 2 * Math.PI);
      pen.lineWidth = width + 2;
      pen.strokeStyle = "#fff";
      pen.stroke();
      pen.lineWidth = width;
      pen.strokeStyle = colour;
      pen.stroke();
    }
    if (this.path?.length > 1) {
      pen.beginPath();
      for (const [u, v] of this.path) pen.lineTo(u, v);
      pen.closePath();
      pen.fillStyle = "rgba(40, 70, 120, 0.10)";
      pen.fill();
      pen.lineWidth = 1.2;
      pen.strokeStyle = "#28467a";
      pen.stroke();
    }
  }

  toScreen(x, y) {
    const { view } = this;
    return [view.width / 2 + (x - view.x) * view.scale, view.height / 2 - (y - view.y) * view.scale];
  }

  toMap(u, v) {
    const { view } = this;
    return [view.x + (u - view.width / 2) / view.scale, view.y - (v - view.height / 2) / view.scale];
  }

  zoom(factor, u = this.view.width / 2, v = this.view.height / 2) {
    const [x, y] = this.toMap(u, v);
    this.view.scale = Math.min(Math.max(this.view.scale * factor, this.whole / 4), this.whole * 2000);
    const [x2, y2] = this.toMap(u, v);
    this.view.x += x - x2;
    this.view.y += y - y2;
    this.draw();
  }

  move(u, v) {
    this.view.x -= u / this.view.scale;
    this.view.y += v / this.view.scale;
    this.draw();
  }

  all() {
    this.fit();
    this.draw();
  }

  goTo(row) {
    const [u, v] = this.toScreen(this.x[row], this.y[row]);
    const { width, height } = this.view;
    if (Number.isFinite(u) && (u < 20 || v < 20 || u > width - 20 || v > height - 20)) {
      Object.assign(this.view, { x: this.x[row], y: this.y[row] });
      this.draw();
    }
  }

  // The nearest visible row within reach, or -1.
  under(u, v) {
    const [x, y] = this.toMap(u, v);
    let [best, least] = [-1, Infinity];
    for (const place of this.index.within(x, y, REACH / this.view.scale)) {
      const row = this.order[place];
      const apart = (this.x[row] - x) ** 2 + (this.y[row] - y) ** 2;
      if (this.visible[row] && apart < least) [best, least] = [row, apart];
    }
    return best;
  }

  inside(path) {
    const corners = path.map(([u, v]) => this.toMap(u, v));
    const xs = corners.map((c) => c[0]);
    const ys = corners.map((c) => c[1]);
    const box = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
    const found = this.index.range(...box).map((place) => this.order[place]);
    return Uint32Array.from(found.filter((row) => this.visible[row] && within(corners, this.x[row], this.y[row]))).sort();
  }

  listen() {
    const { canvas } = this;
    let from = null;
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const fire = (name, detail) => this.dispatchEvent(new CustomEvent(name, { detail }));
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      from = { start: at(event), last: at(event), moved: false };
      if (this.lassoing || event.shiftKey) this.path = [at(event)];
    });
    canvas.addEventListener("pointermove", (event) => {
      const here = at(event);
      if (!from) {
        fire("hover", { row: this.under(...here), at: here });
        return;
      }
      from.moved ||= Math.hypot(here[0] - from.start[0], here[1] - from.start[1]) > DRAG;
      if (this.path) this.path.push(here);
      else if (from.moved) this.move(here[0] - from.last[0], here[1] - from.last[1]);
      from.last = here;
      this.draw(false);
    });
    const end = (event, kept) => {
      if (!from) return;
      const { moved } = from;
      const { path } = this;
      from = null;
      this.path = null;
      if (kept && path && moved) fire("lasso", this.inside(path));
      else if (kept && !moved) fire("click", this.under(...at(event)));
      this.draw(false);
    };
    canvas.addEventListener("pointerup", (event) => end(event, true));
    canvas.addEventListener("pointercancel", (event) => end(event, false));
    canvas.addEventListener("pointerleave", () => fire("hover", { row: -1 }));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-0.0015 * event.deltaY * (event.deltaMode ? 16 : 1)), ...at(event));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
      if (!step) return;
      event.preventDefault();
      this.move(...step);
    });
  }
}

// Rows that are on the map in an order that has nothing to do with classes: none is drawn over all others.
function shuffled(x, y) {
  const order = new Uint32Array(x.length);
  let n = 0;
  for (let row = 0; row < x.length; row++) if (Number.isFinite(x[row]) && Number.isFinite(y[row])) order[n++] = row;
  let state = 1;
  for (let i = n - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((state / 2 ** 32) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order.subarray(0, n);
}

// Even-odd rule.
function within(corners, x, y) {
  let inside = false;
  for (let i = 0, j = corners.length - 1; i < corners.length; j = i++) {
    const [[a, b], [c, d]] = [corners[i], corners[j]];
    if (b > y !== d > y && x < ((c - a) * (y - b)) / (d - b) + a) inside = !inside;
  }
  return inside;
}
