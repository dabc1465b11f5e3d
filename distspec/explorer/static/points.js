// Points drawn by WebGL2 from columns: x and y as float32, and a color of four bytes for each.

import { cssFractions } from "./theme.js";

const VERTEX = `#version 300 es
in float x;
in float y;
in vec4 color;
uniform vec4 view;   // center, scale to clip space
uniform float size;  // [device pixel]
uniform vec4 tint;   // replaces the colors if alpha > 0
out vec4 shade;
void main() {
  gl_Position = vec4((vec2(x, y) - view.xy) * view.zw, 0.0, 1.0);
  gl_PointSize = size;
  shade = tint.a > 0.0 ? tint : color;
}`;
const FRAGMENT = `#version 300 es
precision mediump float;
in vec4 shade;
uniform float round;  // radius [device pixel]; 0 draws a square
out vec4 painted;
void main() {
  float distance = length(2.0 * gl_PointCoord - 1.0);
  float alpha = shade.a * (round > 0.0 ? clamp((1.0 - distance) * round, 0.0, 1.0) : 1.0);
  painted = vec4(shade.rgb * alpha, alpha);
}`;

export class WebGLUnavailableError extends Error {}

export class Points {
  constructor(canvas, x, y) {
    this.canvas = canvas;
    this.x = x;
    this.y = y;
    this.colors = new Uint8Array(4 * x.length).fill(128);
    this.layers = [];
    this.last = null;
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => this.initialize());
    this.initialize();
  }

  initialize() {
    const gl = this.canvas.getContext("webgl2", { antialias: false, depth: false, powerPreference: "high-performance" });
    if (!gl) throw new WebGLUnavailableError();
    this.gl = gl;
    const program = gl.createProgram();
    for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    ["x", "y", "color"].forEach((name, i) => gl.bindAttribLocation(program, i, name));
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    this.uniforms = Object.fromEntries(
      ["view", "size", "tint", "round"].map((name) => [name, gl.getUniformLocation(program, name)]),
    );
    this.coordinateBuffers = [this.x, this.y].map((values, i) => this.setAttribute(i, values, 1, gl.FLOAT, false));
    this.colorBuffer = this.setAttribute(2, this.colors, 4, gl.UNSIGNED_BYTE, true);
    this.indices = gl.createBuffer();
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.indices);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    this.setLayers(this.layers);
    if (this.last) this.draw(this.last);
  }

  setAttribute(index, values, size, type, normalized) {
    const gl = this.gl;
    const buffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(index);
    gl.vertexAttribPointer(index, size, type, normalized, 0, 0);
    return buffer;
  }

  setCoordinates(x, y) {
    Object.assign(this, { x, y });
    [x, y].forEach((values, i) => {
      this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.coordinateBuffers[i]);
      this.gl.bufferData(this.gl.ARRAY_BUFFER, values, this.gl.STATIC_DRAW);
    });
  }

  setColors(colors) {
    this.colors = colors;
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.colorBuffer);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, colors, this.gl.STATIC_DRAW);
  }

  // Sets the layers, bottom to top: {rows: Uint32Array, size [CSS pixel], tint: [r, g, b, a] or none}.
  setLayers(layers) {
    this.layers = layers;
    const all = new Uint32Array(layers.reduce((n, layer) => n + layer.rows.length, 0));
    let start = 0;
    for (const { rows } of layers) {
      all.set(rows, start);
      start += rows.length;
    }
    this.gl.bufferData(this.gl.ELEMENT_ARRAY_BUFFER, all, this.gl.STATIC_DRAW);
  }

  // view: {x, y} of the center, scale [CSS pixel per unit], width and height [CSS pixel].
  draw(view) {
    this.last = view;
    const gl = this.gl;
    const ratio = this.canvas.width / view.width;
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(...cssFractions("--paper"), 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform4f(this.uniforms.view, view.x, view.y, (2 * view.scale) / view.width, (2 * view.scale) / view.height);
    let start = 0;
    for (const { rows, size, tint } of this.layers) {
      const pixels = Math.max(size * ratio, 1);
      gl.uniform1f(this.uniforms.size, pixels);
      gl.uniform1f(this.uniforms.round, pixels > 2.5 ? pixels / 2 : 0);
      gl.uniform4fv(this.uniforms.tint, tint ?? [0, 0, 0, 0]);
      if (rows.length) gl.drawElements(gl.POINTS, rows.length, gl.UNSIGNED_INT, 4 * start);
      start += rows.length;
    }
  }

  // Resolves when all drawing commands have been executed.
  drawn() {
    const gl = this.gl;
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl.flush();
    return new Promise((resolve) => {
      const look = () => {
        const state = gl.clientWaitSync(fence, 0, 0);
        if (state === gl.TIMEOUT_EXPIRED) setTimeout(look, 4);
        else {
          gl.deleteSync(fence);
          requestAnimationFrame(resolve);
        }
      };
      look();
    });
  }
}
