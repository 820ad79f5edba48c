// Many points with error bars, drawn by WebGL; by a plain canvas where there is none.
// A renderer of our own: those at hand compile with `new Function`, which the page's policy forbids.

export interface Cloud {
  /** Position of every point in data units; NaN is not drawn. */
  x: Float32Array;
  y: Float32Array;
  /** Ends of error bars: x low, x high, y low, y high of every point; null for none. */
  bars: Float32Array | null;
  /** Red, green, blue, opacity of every point, 0 to 255. */
  colour: Uint8Array;
  /** 0: filled, 1: hollow, 2: selected, 3: in focus. */
  state: Uint8Array;
}

export interface Box {
  x0: number;
  x1: number;
  y0: number;
  y1: number;
}

const VERTEX = `
attribute vec2 at; attribute vec4 colour; attribute float state;
uniform vec2 origin; uniform vec2 span; uniform float size;
varying vec4 tone; varying float kind; varying float radius;
void main() {
  gl_Position = vec4((at - origin) / span * 2.0 - 1.0, state > 1.5 ? -0.5 : 0.0, 1.0);
  float bigger = state > 2.5 ? 2.2 : state > 1.5 ? 1.45 : 1.0;
  radius = size * bigger; gl_PointSize = radius + 2.0; tone = colour; kind = state;
}`;

const FRAGMENT = `
precision mediump float;
varying vec4 tone; varying float kind; varying float radius;
uniform vec3 ink; uniform bool lines;
void main() {
  if (lines) { gl_FragColor = vec4(tone.rgb * tone.a, tone.a); return; }
  float r = length(gl_PointCoord - 0.5) * (radius + 2.0);
  float edge = radius * 0.5;
  float inside = 1.0 - smoothstep(edge - 0.7, edge + 0.7, r);
  float ring = smoothstep(edge - 2.4, edge - 1.2, r);
  vec3 shade = tone.rgb; float alpha = tone.a;
  if (kind > 1.5) { shade = mix(shade, ink, ring); alpha = 1.0; }
  else if (kind > 0.5) { alpha *= max(ring, 0.12); }
  alpha *= inside;
  gl_FragColor = vec4(shade * alpha, alpha);
}`;

export interface Painter {
  load(cloud: Cloud): void;
  draw(box: Box, size: number, ink: [number, number, number]): void;
  readonly kind: "webgl" | "canvas";
}

export function painterFor(canvas: HTMLCanvasElement): Painter {
  // The shader smooths edges by itself, which costs a fraction of multisampling where no graphics card helps.
  const gl = canvas.getContext("webgl", { antialias: false, premultipliedAlpha: true });
  return (gl && webgl(canvas, gl)) || plain(canvas);
}

function webgl(canvas: HTMLCanvasElement, gl: WebGLRenderingContext): Painter | null {
  const program = gl.createProgram();
  for (const [kind, text] of [
    [gl.VERTEX_SHADER, VERTEX],
    [gl.FRAGMENT_SHADER, FRAGMENT],
  ] as const) {
    const shader = gl.createShader(kind);
    if (!shader || !program) return null;
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  if (!program) return null;
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
  gl.useProgram(program);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  const uniform = (name: string) => gl.getUniformLocation(program, name);
  const [origin, span, size, ink, lines] = ["origin", "span", "size", "ink", "lines"].map(uniform);
  const buffers = [0, 1, 2, 3, 4, 5].map(() => gl.createBuffer());
  const filled = (n: number, data: ArrayBufferView) => {
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers[n] as WebGLBuffer);
    gl.bufferData(gl.ARRAY_BUFFER, data as unknown as BufferSource, gl.DYNAMIC_DRAW);
  };
  const bind = (n: number, name: string, width: number, kind: number, normal: boolean) => {
    const place = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers[n] as WebGLBuffer);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, width, kind, normal, 0, 0);
  };
  let [points, ends] = [0, 0];
  return {
    kind: "webgl",
    load(cloud) {
      points = cloud.x.length;
      const at = new Float32Array(2 * points);
      const order = drawingOrder(cloud.state);
      const colour = new Uint8Array(4 * points);
      const state = new Float32Array(points);
      order.forEach((row, n) => {
        at[2 * n] = cloud.x[row] as number;
        at[2 * n + 1] = cloud.y[row] as number;
        colour.set(cloud.colour.subarray(4 * row, 4 * row + 4), 4 * n);
        state[n] = cloud.state[row] as number;
      });
      filled(0, at);
      filled(1, colour);
      filled(2, state);
      const bars = barEnds(cloud);
      ends = bars.at.length / 2;
      filled(3, bars.at);
      filled(4, bars.colour);
      filled(5, new Float32Array(ends));
    },
    draw(box, pixels, tone) {
      gl.viewport(0, 0, canvas.width, canvas.height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.uniform2f(origin as WebGLUniformLocation, box.x0, box.y0);
      gl.uniform2f(span as WebGLUniformLocation, box.x1 - box.x0, box.y1 - box.y0);
      gl.uniform1f(size as WebGLUniformLocation, pixels);
      gl.uniform3f(ink as WebGLUniformLocation, tone[0] / 255, tone[1] / 255, tone[2] / 255);
      const passes: [number, number, number, number, number][] = [
        [3, 4, 5, ends, gl.LINES],
        [0, 1, 2, points, gl.POINTS],
      ];
      for (const [at, colour, state, count, mode] of passes) {
        if (!count) continue;
        gl.uniform1i(lines as WebGLUniformLocation, mode === gl.LINES ? 1 : 0);
        bind(at, "at", 2, gl.FLOAT, false);
        bind(colour, "colour", 4, gl.UNSIGNED_BYTE, true);
        bind(state, "state", 1, gl.FLOAT, false);
        gl.drawArrays(mode, 0, count);
      }
    },
  };
}

/** What is selected or in focus comes last, above the others. */
function drawingOrder(state: Uint8Array): number[] {
  const order: number[] = [];
  for (const least of [0, 2, 3]) {
    state.forEach((s, row) => {
      if ((least === 0 && s < 2) || s === least) order.push(row);
    });
  }
  return order;
}

function barEnds(cloud: Cloud): { at: Float32Array; colour: Uint8Array } {
  if (!cloud.bars) return { at: new Float32Array(), colour: new Uint8Array() };
  const at: number[] = [];
  const colour: number[] = [];
  for (let row = 0; row < cloud.x.length; row++) {
    const [xl, xh, yl, yh] = cloud.bars.subarray(4 * row, 4 * row + 4) as unknown as [number, number, number, number];
    const [x, y] = [cloud.x[row] as number, cloud.y[row] as number];
    if (Number.isNaN(x) || Number.isNaN(y)) continue;
    const tone = [
      ...cloud.colour.subarray(4 * row, 4 * row + 3),
      Math.round((cloud.colour[4 * row + 3] as number) * 0.45),
    ];
    if (xh > xl) {
      at.push(xl, y, xh, y);
      colour.push(...tone, ...tone);
    }
    if (yh > yl) {
      at.push(x, yl, x, yh);
      colour.push(...tone, ...tone);
    }
  }
  return { at: Float32Array.from(at), colour: Uint8Array.from(colour) };
}

function plain(canvas: HTMLCanvasElement): Painter {
  const context = canvas.getContext("2d");
  let cloud: Cloud | null = null;
  let order: number[] = [];
  return {
    kind: "canvas",
    load(next) {
      cloud = next;
      order = drawingOrder(next.state);
    },
    draw(box, size, ink) {
      if (!context || !cloud) return;
      const { width, height } = canvas;
      const px = (x: number) => ((x - box.x0) / (box.x1 - box.x0)) * width;
      const py = (y: number) => (1 - (y - box.y0) / (box.y1 - box.y0)) * height;
      context.clearRect(0, 0, width, height);
      const bars = barEnds(cloud);
      for (let n = 0; n < bars.at.length; n += 4) {
        const [r, g, b, a] = bars.colour.subarray(2 * n, 2 * n + 4);
        context.strokeStyle = `rgb(${r} ${g} ${b} / ${(a as number) / 255})`;
        context.beginPath();
        context.moveTo(px(bars.at[n] as number), py(bars.at[n + 1] as number));
        context.lineTo(px(bars.at[n + 2] as number), py(bars.at[n + 3] as number));
        context.stroke();
      }
      for (const row of order) {
        const [x, y, state] = [cloud.x[row] as number, cloud.y[row] as number, cloud.state[row] as number];
        if (Number.isNaN(x) || Number.isNaN(y)) continue;
        const [r, g, b, a] = cloud.colour.subarray(4 * row, 4 * row + 4);
        context.beginPath();
        context.arc(px(x), py(y), (size / 2) * (state === 3 ? 2.2 : state === 2 ? 1.45 : 1), 0, 7);
        context.fillStyle = context.strokeStyle = `rgb(${r} ${g} ${b} / ${(a as number) / 255})`;
        if (state !== 1) context.fill();
        if (state > 1) context.strokeStyle = `rgb(${ink.join(" ")})`;
        if (state) context.stroke();
      }
    },
  };
}
