// The map page: points coloured by class; zoomed in they turn into pictures; place, zoom and choice stand in the URL.
import { select } from "d3-selection";
import { zoom as makeZoom, zoomIdentity } from "d3-zoom";
import { colour } from "./colours.js";
import { painter } from "./draw.js";
import { load } from "./points.js";
import { choose, layer } from "./thumbs.js";
import { read, write } from "./address.js";

const SETTLE = 120; // milliseconds without movement before pictures are asked for

const box = document.getElementById("map");
const status = document.getElementById("map-status");
const classPick = document.getElementById("map-class");
const gridPick = document.getElementById("map-grid");
const tip = document.getElementById("map-tip");
const names = new Map([...classPick.options].filter((o) => o.value !== "").map((o) => [Number(o.value), o.text]));
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

main().catch((error) => say(`The map cannot be shown: ${error.message}.`));

async function main() {
  const paint = painter(box.querySelector("canvas"));
  if (!paint) throw new Error("this browser has no WebGL 2");
  const points = await load(box.dataset.points);
  const map = makeMap(points, paint);
  for (const swatch of document.querySelectorAll("[data-class]")) {
    const [r, g, b] = colour(Number(swatch.dataset.class), names.size);
    swatch.style.setProperty("--swatch", `rgb(${r} ${g} ${b})`);
    swatch.addEventListener("click", () => map.pick(swatch.getAttribute("aria-pressed") === "true" ? "" : swatch.dataset.class));
  }
  map.start();
  box.dataset.ready = String(points.count);
  say(`${points.count.toLocaleString("en")} images`);
}

function say(text) { status.textContent = text; }

function makeMap(points, paint) {
  const rank = ranks(points.count);
  const colours = new Uint8Array(4 * points.count);
  for (let i = 0; i < points.count; i++) colours.set([...colour(points.classes[i], names.size), 255], 4 * i);
  const state = { grid: false, blend: 0, chosen: "", transform: zoomIdentity, due: false, moved: 0 };
  const links = layer(box.querySelector(".map-thumbs"), (point) => makeLink(points, point));
  const behaviour = makeZoom().scaleExtent([0.7, 600]).clickDistance(5).on("zoom", (event) => {
    state.transform = event.transform;
    state.moved = performance.now();
    hide();
    request();
    if (event.sourceEvent) remember();
  });
  const surface = select(box);

  const layout = () => (state.grid && points.grid ? points.grid : points.scatter);
  function view() {
    const width = box.clientWidth, height = box.clientHeight;
    const base = 0.46 * Math.min(width, height);
    const { k, x, y } = state.transform;
    return { width, height, base, scale: base * k, left: (width / 2) * k + x, top: (height / 2) * k + y };
  }
  function request() {
    if (!state.due) { state.due = true; requestAnimationFrame(frame); }
  }
  function frame() {
    state.due = false;
    const v = view();
    const goal = state.grid ? 1 : 0;
    if (state.blend !== goal) {
      state.blend = still || Math.abs(goal - state.blend) < 0.02 ? goal : state.blend + (goal - state.blend) * 0.16;
      if (state.blend !== goal) request();
    }
    const zoom = state.transform.k;
    const cell = layout().cell * v.scale;
    const loose = Math.min(14, Math.max(2.2, 260 / Math.sqrt(points.count)) * Math.sqrt(zoom));
    const size = loose + (Math.max(2, cell * 0.9) - loose) * state.blend;
    paint.draw(v, { blend: state.blend, size, dim: state.chosen === "" ? 0 : 1, round: state.blend < 0.5 });
    const settled = performance.now() - state.moved > SETTLE;
    if (!settled) setTimeout(request, SETTLE + 10);
    if (state.blend === goal && box.dataset.thumbnail) links.show(layout(), v, choose(layout(), v, zoom, rank), settled);
    else links.clear();
    box.dataset.pictures = String(links.size);
    box.dataset.zoom = zoom.toFixed(3);
  }
  function colourIn() {
    const lit = new Uint8Array(points.count);
    const wanted = Number(state.chosen);
    if (state.chosen !== "") points.classes.forEach((c, i) => { lit[i] = c === wanted ? 1 : 0; });
    paint.set(points.scatter.places, (points.grid ?? points.scatter).places, colours, lit);
    classPick.value = state.chosen;
    for (const swatch of document.querySelectorAll("[data-class]")) {
      swatch.setAttribute("aria-pressed", String(swatch.dataset.class === state.chosen));
    }
    box.classList.toggle("choosing", state.chosen !== "");
    request();
  }
  let waiting = 0;
  function remember() {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      const v = view();
      write({
        x: (v.width / 2 - v.left) / v.scale, y: (v.height / 2 - v.top) / v.scale, z: state.transform.k,
        grid: state.grid, class: state.chosen,
      });
    }, 150);
  }
  function goTo({ x, y, z }) {
    const v = view();
    const k = Math.min(600, Math.max(0.7, z));
    const transform = zoomIdentity.translate(v.width / 2 - x * v.base * k - (v.width / 2) * k, v.height / 2 - y * v.base * k - (v.height / 2) * k).scale(k);
    surface.call(behaviour.transform, transform);
  }
  function nearest(event) {
    const frameBox = box.getBoundingClientRect();
    const v = view();
    const x = (event.clientX - frameBox.left - v.left) / v.scale, y = (event.clientY - frameBox.top - v.top) / v.scale;
    const found = layout().index?.within(x, y, 14 / v.scale) ?? [];
    const far = (p) => (layout().places[2 * p] - x) ** 2 + (layout().places[2 * p + 1] - y) ** 2;
    return found.length ? found.reduce((a, b) => (far(b) < far(a) ? b : a)) : null;
  }
  function hide() { tip.hidden = true; box.style.cursor = ""; }
  function hover(event) {
    if (event.buttons || event.target.closest("a")) return hide();
    const point = nearest(event);
    if (point === null) return hide();
    const v = view();
    tip.replaceChildren(...tipParts(points, point));
    tip.hidden = false;
    const x = layout().places[2 * point] * v.scale + v.left, y = layout().places[2 * point + 1] * v.scale + v.top;
    tip.style.transform = `translate(${Math.min(x + 14, v.width - 170).toFixed(0)}px, ${Math.min(y + 14, v.height - 190).toFixed(0)}px)`;
    box.style.cursor = "pointer";
  }
  function keys(event) {
    if (event.target !== box || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
    if (step) surface.call(behaviour.translateBy, step[0] / state.transform.k, step[1] / state.transform.k);
    else if (event.key === "+" || event.key === "=") surface.call(behaviour.scaleBy, 1.4);
    else if (event.key === "-") surface.call(behaviour.scaleBy, 1 / 1.4);
    else if (event.key === "0") surface.call(behaviour.transform, zoomIdentity);
    else return;
    event.preventDefault();
    remember();
  }
  function restore() {
    const at = read();
    state.grid = at.grid && points.grid !== null;
    gridPick.checked = state.grid;
    state.chosen = names.has(Number(at.class)) ? at.class : "";
    colourIn();
    goTo(at);
  }
  return {
    pick(value) { state.chosen = value; colourIn(); remember(); },
    start() {
      surface.call(behaviour).on("dblclick.zoom", null);
      box.addEventListener("pointermove", hover);
      box.addEventListener("pointerleave", hide);
      box.addEventListener("keydown", keys);
      box.addEventListener("click", (event) => {
        const point = event.target.closest("a") ? null : nearest(event);
        if (point !== null) location.href = address(box.dataset.image, points.ids[point]);
      });
      gridPick.disabled = points.grid === null;
      gridPick.addEventListener("change", () => { state.grid = gridPick.checked; links.clear(); request(); remember(); });
      classPick.addEventListener("change", () => { state.chosen = classPick.value; colourIn(); remember(); });
      for (const [id, by] of [["map-in", 1.6], ["map-out", 1 / 1.6]]) {
        document.getElementById(id).addEventListener("click", () => { surface.call(behaviour.scaleBy, by); remember(); });
      }
      document.getElementById("map-home").addEventListener("click", () => { surface.call(behaviour.transform, zoomIdentity); remember(); });
      window.addEventListener("hashchange", restore);
      let last = null;
      new ResizeObserver(() => {
        const at = last; // keep the place in the middle when the window changes its size
        if (at) goTo(at);
        const v = view();
        last = { x: (v.width / 2 - v.left) / v.scale, y: (v.height / 2 - v.top) / v.scale, z: state.transform.k };
        request();
      }).observe(box);
      behaviour.on("end", () => {
        const v = view();
        last = { x: (v.width / 2 - v.left) / v.scale, y: (v.height / 2 - v.top) / v.scale, z: state.transform.k };
      });
      restore();
    },
  };
}

function address(template, id) { return template.replace("{image_id}", String(id)); }

function makeLink(points, point) {
  const link = document.createElement("a");
  link.href = address(box.dataset.image, points.ids[point]);
  link.draggable = false;
  const [r, g, b] = colour(points.classes[point], names.size);
  link.style.setProperty("--swatch", `rgb(${r} ${g} ${b})`);
  link.dataset.of = String(points.classes[point]);
  link.append(picture(points, point));
  return link;
}

function picture(points, point) {
  const image = document.createElement("img");
  image.alt = names.get(points.classes[point]) ?? `image ${points.ids[point]}`;
  image.title = image.alt;
  image.draggable = false;
  image.decoding = "async";
  image.addEventListener("error", () => image.remove());
  image.src = address(box.dataset.thumbnail, points.ids[point]);
  return image;
}

function tipParts(points, point) {
  const text = document.createElement("span");
  text.textContent = names.get(points.classes[point]) ?? `image ${points.ids[point]}`;
  return box.dataset.thumbnail ? [picture(points, point), text] : [text];
}

/** A fixed shuffle: which point of a cell becomes its picture, the same at every visit. */
function ranks(count) {
  const rank = new Uint32Array(count);
  for (let i = 0; i < count; i++) rank[i] = Math.imul(i + 1, 2654435761) >>> 0;
  return rank;
}
