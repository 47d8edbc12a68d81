// Draws all points in one call: WebGL 2, round points, two arrangements that blend into one another.
import { createBufferInfoFromArrays, createProgramInfo, drawBufferInfo, setBuffersAndAttributes, setUniforms } from "twgl.js";

const VERTEX = `#version 300 es
in vec2 from; in vec2 to; in vec4 colour; in float lit;
uniform float blend; uniform vec2 scale; uniform vec2 shift; uniform float size; uniform float dim;
out vec4 ink;
void main() {
  vec2 place = mix(from, to, blend);
  gl_Position = vec4(place * scale + shift, lit > 0.5 ? 0.0 : 0.5, 1.0);
  gl_PointSize = size * (lit > 0.5 ? 1.0 + 0.6 * dim : 1.0);
  ink = vec4(colour.rgb, lit > 0.5 ? 0.92 : mix(0.92, 0.10, dim));
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec4 ink; uniform float size; uniform float round_; out vec4 paint;
void main() {
  float far = length(gl_PointCoord - 0.5) * 2.0;
  float edge = mix(1.0, 1.0 - smoothstep(1.0 - 3.0 / max(size, 3.0), 1.0, far), round_);
  paint = vec4(ink.rgb, 1.0) * ink.a * edge;
}`;

/** A painter on `canvas`, or null where the browser has no WebGL 2. */
export function painter(canvas) {
  const gl = canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true });
  if (!gl) return null;
  const program = createProgramInfo(gl, [VERTEX, FRAGMENT]);
  let buffers = null;
  return {
    /** Points to draw from now on; `colours` are 4 bytes a point, `lit` one byte a point. */
    set(from, to, colours, lit) {
      buffers = createBufferInfoFromArrays(gl, {
        from: { numComponents: 2, data: from },
        to: { numComponents: 2, data: to },
        colour: { numComponents: 4, data: colours, normalize: true },
        lit: { numComponents: 1, data: Float32Array.from(lit) },
      });
    },
    /** One frame. `view`: scale (CSS pixels a unit), left and top (CSS pixels of the square's origin), width, height. */
    draw(view, { blend, size, dim, round }) {
      const ratio = window.devicePixelRatio || 1;
      const [width, height] = [Math.round(view.width * ratio), Math.round(view.height * ratio)];
      if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
      gl.viewport(0, 0, width, height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      if (!buffers) return;
      gl.enable(gl.BLEND);
      gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
      gl.useProgram(program.program);
      setBuffersAndAttributes(gl, program, buffers);
      setUniforms(program, {
        blend, dim,
        scale: [(2 * view.scale) / view.width, (-2 * view.scale) / view.height],
        shift: [(2 * view.left) / view.width - 1, 1 - (2 * view.top) / view.height],
        size: size * ratio,
        round_: round ? 1 : 0,
      });
      drawBufferInfo(gl, buffers, gl.POINTS);
    },
  };
}
