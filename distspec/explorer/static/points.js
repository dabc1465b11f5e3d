// Points drawn by WebGL2, straight from the columns: x and y as float32, a colour of four bytes each.

const VERTEX = `#version 300 es
in float x;
in float y;
in vec4 colour;
uniform vec4 view;   // centre, scale to clip space
uniform float size;  // [device pixel]
uniform vec4 tint;   // alpha > 0: in place of the colours
out vec4 shade;
void main() {
  gl_Position = vec4((vec2(x, y) - view.xy) * view.zw, 0.0, 1.0);
  gl_PointSize = size;
  shade = tint.a > 0.0 ? tint : colour;
}`;
const FRAGMENT = `#version 300 es
precision mediump float;
in vec4 shade;
uniform float round;  // radius [device pixel]; 0: a square will do
out vec4 painted;
void main() {
  float apart = length(2.0 * gl_PointCoord - 1.0);
  float alpha = shade.a * (round > 0.0 ? clamp((1.0 - apart) * round, 0.0, 1.0) : 1.0);
  painted = vec4(shade.rgb * alpha, alpha);
}`;

export class NoWebGL extends Error {}

export class Points {
  constructor(canvas, x, y) {
    this.canvas = canvas;
    this.x = x;
    this.y = y;
    this.colours = new Uint8Array(4 * x.length).fill(128);
    this.layers = [];
    this.last = null;
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => this.begin());
    this.begin();
  }

  begin() {
    const gl = this.canvas.getContext("webgl2", { antialias: false, depth: false, powerPreference: "high-performance" });
    if (!gl) throw new NoWebGL();
    this.gl = gl;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    ["x", "y", "colour"].forEach((name, i) => gl.bindAttribLocation(program, i, name));
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    this.uniforms = Object.fromEntries(
      ["view", "size", "tint", "round"].map((name) => [name, gl.getUniformLocation(program, name)]),
    );
    [this.x, this.y].forEach((values, i) => this.attribute(i, values, 1, gl.FLOAT, false));
    this.colourBuffer = this.attribute(2, this.colours, 4, gl.UNSIGNED_BYTE, true);
    this.indices = gl.createBuffer();
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.indices);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    this.layer(this.layers);
    if (this.last) this.draw(this.last);
  }

  attribute(place, values, size, type, normalised) {
    const gl = this.gl;
    const buffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, type, normalised, 0, 0);
    return buffer;
  }

  colour(colours) {
    this.colours = colours;
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.colourBuffer);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, colours, this.gl.STATIC_DRAW);
  }

  // Layers lie on each other in this order: {rows: Uint32Array, size [CSS pixel], tint: [r, g, b, a] or none}.
  layer(layers) {
    this.layers = layers;
    const all = new Uint32Array(layers.reduce((n, each) => n + each.rows.length, 0));
    let start = 0;
    for (const { rows } of layers) {
      all.set(rows, start);
      start += rows.length;
    }
    this.gl.bufferData(this.gl.ELEMENT_ARRAY_BUFFER, all, this.gl.STATIC_DRAW);
  }

  // view: {x, y} at the centre, scale [CSS pixel a unit], width, height [CSS pixel].
  draw(view) {
    this.last = view;
    const gl = this.gl;
    const ratio = this.canvas.width / view.width;
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(1, 1, 1, 1);
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

  // Resolves once what was drawn has been drawn, not only asked for.
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
