// The map of all spectra: moving and zooming, the point under the pointer, and the lasso.

import { frameMarks } from "./axes.js";
import { KDBush } from "./libraries.js";
import { Points } from "./points.js";
import { cssColor, cssFractions } from "./theme.js";

const HIT_RADIUS = 12; // largest distance of the pointer from a point that it selects [CSS pixel]
const MIN_DRAG = 4; // a shorter movement is a click [CSS pixel]
const MAX_ZOOM = 50_000;

export class ScatterMap extends EventTarget {
  // Fires "hover" and "click" with the row (or -1), and "lasso" with a Uint32Array of rows.
  constructor(element, x, y) {
    super();
    this.element = element;
    this.canvas = element.querySelector("#points");
    this.over = element.querySelector("#over");
    this.x = x;
    this.y = y;
    this.visible = new Uint8Array(x.length).fill(1);
    this.rings = [];
    this.frame = { x: {}, y: {} };
    this.lassoing = false;
    this.path = null;
    this.points = new Points(this.canvas, x, y);
    this.order = shuffled(x, y);
    this.view = { x: 0, y: 0, scale: 1, width: 1, height: 1 };
    this.fit();
    new ResizeObserver(() => this.resize()).observe(element);
    document.addEventListener("theme", () => this.points.layers.length && this.layout());
    this.listen();
  }

  // Moves all points: {x, y, box, frame} as `Axes` gives them.
  setCoordinates({ x, y, box, frame }) {
    Object.assign(this, { x, y, frame, box, _index: null });
    this.order = shuffled(x, y);
    this.points.setCoordinates(x, y);
    this.fit();
    this.layout();
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
    const zoomLevel = Math.log2(this.view.scale / this.fullScale);
    const base = this.order.length > 3e5 ? 1.5 : this.order.length > 3e4 ? 2 : 4.5;
    return Math.min(Math.max(base * 2 ** (0.45 * zoomLevel), 1), 11);
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height || (width === this.view.width && height === this.view.height)) return;
    const ratio = window.devicePixelRatio || 1;
    for (const canvas of [this.canvas, this.over]) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const showsAll = this.view.scale === this.fullScale;
    Object.assign(this.view, { width, height });
    this.measure();
    if (showsAll) this.fit();
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
    this.fullScale = 0.9 * Math.min(width / (right - left || 1), height / (high - low || 1));
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
    Object.assign(this.view, { x: (left + right) / 2, y: (low + high) / 2, scale: this.fullScale });
  }

  // Sets which rows are visible and which are selected.
  show(visible, selected) {
    this.visible = visible;
    this.selected = selected;
    this.layout();
  }

  layout() {
    const size = this.dotSize;
    const hidden = new Uint32Array(this.order.length);
    const visible = new Uint32Array(this.order.length);
    let n = 0;
    let m = 0;
    for (const row of this.order) {
      if (this.visible[row]) visible[n++] = row;
      else hidden[m++] = row;
    }
    const selected = this.selected ?? new Uint32Array();
    this.size = size;
    this.points.setLayers([
      { rows: hidden.subarray(0, m), size: size * 0.8, tint: [...cssFractions("--hidden-point"), 1] },
      { rows: visible.subarray(0, n), size },
      { rows: selected, size: size + 4, tint: [...cssFractions("--data"), 1] },
      { rows: selected, size: size + 1 },
    ]);
    this.draw();
  }

  setColors(colors) {
    this.points.setColors(colors);
    this.draw();
  }

  setRings(rings) {
    this.rings = rings;
    this.draw(false);
  }

  // Rings and the lasso are on a separate canvas, so that drawing them does not redraw the points.
  draw(points = true) {
    this.pointsChanged ||= points;
    if (this.frameRequested) return;
    this.frameRequested = true;
    requestAnimationFrame(() => {
      this.frameRequested = false;
      if (this.points.layers.length && Math.abs(this.dotSize - this.size) > 0.3) this.layout();
      if (this.pointsChanged) this.points.draw(this.view);
      this.pointsChanged = false;
      this.drawOver();
      for (const name of ["x", "y", "scale"]) this.element.dataset[name] = this.view[name];
    });
  }

  drawOver() {
    const ratio = this.over.width / this.view.width;
    const context = this.over.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.view.width, this.view.height);
    this.drawFrame(context);
    for (const { row, radius, color, width } of this.rings) {
      const [u, v] = this.toScreen(this.x[row], this.y[row]);
      context.beginPath();
      context.arc(u, v, radius + this.size / 2, 0, 2 * Math.PI);
      context.lineWidth = width + 2;
      context.strokeStyle = cssColor("--paper");
      context.stroke();
      context.lineWidth = width;
      context.strokeStyle = color;
      context.stroke();
    }
    if (this.path?.length > 1) {
      context.beginPath();
      for (const [u, v] of this.path) context.lineTo(u, v);
      context.closePath();
      context.fillStyle = "rgba(40, 70, 120, 0.10)";
      context.fill();
      context.lineWidth = 1.2;
      context.strokeStyle = cssColor("--accent");
      context.stroke();
    }
  }

  // Ticks of the axes, or the coordinates of the sky.
  drawFrame(context) {
    const { lines, texts } = frameMarks(this.frame, this);
    context.strokeStyle = cssColor(this.frame.sky ? "--line" : "--soft");
    context.lineWidth = 1;
    for (const line of lines) {
      context.beginPath();
      for (const [u, v] of line) context.lineTo(u, v);
      context.stroke();
    }
    context.font = '11px system-ui, "DejaVu Sans", sans-serif';
    context.textBaseline = "middle";
    for (const { u, v, text, align } of texts) {
      context.textAlign = align;
      context.lineWidth = 3;
      context.strokeStyle = cssColor("--paper");
      context.strokeText(text, u, v);
      context.fillStyle = cssColor("--soft");
      context.fillText(text, u, v);
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
    this.view.scale = Math.min(Math.max(this.view.scale * factor, this.fullScale / 4), this.fullScale * MAX_ZOOM);
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

  showAll() {
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

  // The nearest visible row within the hit radius, or -1.
  rowAt(u, v) {
    const [x, y] = this.toMap(u, v);
    let [nearest, smallest] = [-1, Infinity];
    for (const item of this.index.within(x, y, HIT_RADIUS / this.view.scale)) {
      const row = this.order[item];
      const distance = (this.x[row] - x) ** 2 + (this.y[row] - y) ** 2;
      if (this.visible[row] && distance < smallest) [nearest, smallest] = [row, distance];
    }
    return nearest;
  }

  // The visible rows inside a closed path on the screen.
  rowsInside(path) {
    const corners = path.map(([u, v]) => this.toMap(u, v));
    const xs = corners.map((c) => c[0]);
    const ys = corners.map((c) => c[1]);
    const box = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
    const found = this.index.range(...box).map((item) => this.order[item]);
    return Uint32Array.from(found.filter((row) => this.visible[row] && within(corners, this.x[row], this.y[row]))).sort();
  }

  listen() {
    const { canvas } = this;
    let drag = null;
    let pinch = null; // distance and center of two fingers
    const fingers = new Map();
    const pinchOf = () => {
      const [[a, b], [c, d]] = [...fingers.values()];
      return { distance: Math.hypot(a - c, b - d), center: [(a + c) / 2, (b + d) / 2] };
    };
    const positionOf = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const fire = (name, detail) => this.dispatchEvent(new CustomEvent(name, { detail }));
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, positionOf(event));
      if (fingers.size === 2) [pinch, drag, this.path] = [pinchOf(), null, null];
      if (fingers.size > 1) return;
      drag = { start: positionOf(event), last: positionOf(event), moved: false };
      if (this.lassoing || event.shiftKey) this.path = [positionOf(event)];
    });
    canvas.addEventListener("pointermove", (event) => {
      const here = positionOf(event);
      if (fingers.has(event.pointerId)) fingers.set(event.pointerId, here);
      if (pinch && fingers.size === 2) {
        const { distance, center } = pinchOf();
        this.move(center[0] - pinch.center[0], center[1] - pinch.center[1]);
        this.zoom(distance / pinch.distance, ...center);
        pinch = { distance, center };
        return;
      }
      if (!drag) {
        fire("hover", { row: this.rowAt(...here), position: here });
        return;
      }
      drag.moved ||= Math.hypot(here[0] - drag.start[0], here[1] - drag.start[1]) > MIN_DRAG;
      if (this.path) this.path.push(here);
      else if (drag.moved) this.move(here[0] - drag.last[0], here[1] - drag.last[1]);
      drag.last = here;
      this.draw(false);
    });
    const end = (event, completed) => {
      fingers.delete(event.pointerId);
      if (fingers.size < 2) pinch = null;
      if (!drag) return;
      const { moved } = drag;
      const { path } = this;
      drag = null;
      this.path = null;
      if (completed && path && moved) fire("lasso", this.rowsInside(path));
      else if (completed && !moved) fire("click", this.rowAt(...positionOf(event)));
      this.draw(false);
    };
    canvas.addEventListener("pointerup", (event) => end(event, true));
    canvas.addEventListener("pointercancel", (event) => end(event, false));
    canvas.addEventListener("pointerleave", () => fire("hover", { row: -1 }));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-0.0015 * event.deltaY * (event.deltaMode ? 16 : 1)), ...positionOf(event));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
      if (!step) return;
      event.preventDefault();
      this.move(...step);
    });
  }
}

// Rows with coordinates in random order, so that no class is drawn on top of all others.
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

// Whether a point is inside a polygon, by the even-odd rule.
function within(corners, x, y) {
  let inside = false;
  for (let i = 0, j = corners.length - 1; i < corners.length; j = i++) {
    const [[a, b], [c, d]] = [corners[i], corners[j]];
    if (b > y !== d > y && x < ((c - a) * (y - b)) / (d - b) + a) inside = !inside;
  }
  return inside;
}
