"use strict";
// The probe's page: an image is chosen, dropped, pasted or taken, sent, and its answer shown. Nothing of it is kept.
{
const root = document.querySelector("[data-probe]");
const find = (name) => document.querySelector(`[data-${name}]`);
const address = root.dataset.probe;
const state = new URLSearchParams(location.hash.slice(1)); // image, layer, edit, ablate
let body = null; // a Blob, or null for an image of the atlas
let shown = null; // address of what is seen
let told = null;
let asking = 0;
let live = null;

find("file").addEventListener("change", (event) => take(event.target.files[0]));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => { event.preventDefault(); take(event.dataTransfer.files[0]); });
document.addEventListener("paste", (event) => take([...event.clipboardData.files][0]));
find("camera").addEventListener("click", () => (live ? stop() : film()));
find("edit").addEventListener("change", (event) => { keep("edit", event.target.value); ask(); });
find("layer").addEventListener("change", (event) => { keep("layer", event.target.value); find("grid").hidden = true; find("zeros").textContent = ""; neurons(); });
find("restore").addEventListener("click", () => { keep("ablate", ""); ask(); });
find("maps").addEventListener("click", maps);
if (state.get("edit")) find("edit").value = state.get("edit");
if (state.get("layer")) find("layer").value = state.get("layer");
if (state.get("image")) { shown = `${root.dataset.images}/${state.get("image")}/picture`; ask(); }

/** A part of the state, in the URL's fragment: an own image never is. */
function keep(name, value) {
  if (value) state.set(name, value); else state.delete(name);
  const text = state.toString();
  history.replaceState(history.state, "", text ? `#${text}` : location.pathname);
}

function say(text) { find("said").textContent = text; }

function take(file) {
  if (!file) return;
  stop();
  if (file.size > 20 * 1024 * 1024) { say("The image file is larger than 20 MB."); return; }
  keep("image", "");
  body = file;
  const reader = new FileReader();
  reader.onload = () => { shown = reader.result; ask(); };
  reader.readAsDataURL(file);
}

function query(values) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) if (value) found.set(name, value);
  if (body === null) found.set("image", state.get("image"));
  return found.toString();
}

async function send(path, values) {
  const answer = await fetch(`${address}${path}?${query(values)}`, { method: "POST", body: body ?? undefined });
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({ detail: "The probe cannot be reached." }));
    throw new Error(problem.detail);
  }
  return answer;
}

async function ask(layers) {
  if (body === null && !state.get("image")) return;
  const mine = ++asking;
  if (!live) say("Asking …");
  try {
    const values = { k: 20, edit: live ? "" : state.get("edit"), ablate: live ? "" : state.get("ablate"), layers };
    const answer = await (await send("", values)).json();
    if (mine !== asking) return;
    told = answer;
    say("");
    draw();
  } catch (error) {
    if (mine === asking) say(error.message);
  }
}

/** An element with text, never markup: names come from anybody's atlas. */
function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== null) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function percent(share) { return `${(100 * share).toFixed(share > 0.999 && share < 1 ? 3 : 1)} %`; }

function draw() {
  const seen = find("seen");
  if (!live) {
    seen.removeAttribute("hidden"); // of an SVG it is no property
    seen.setAttribute("viewBox", `0 0 ${told.width} ${told.height}`);
    const picture = document.createElementNS("http://www.w3.org/2000/svg", "image");
    for (const [key, value] of Object.entries({ href: shown, width: told.width, height: told.height, preserveAspectRatio: "none" })) picture.setAttribute(key, value);
    seen.replaceChildren(picture);
  }
  const place = find("prediction");
  place.replaceChildren();
  if (told.prediction) place.append(guesses("Taken for", told.prediction));
  if (told.changed?.prediction) place.append(guesses(state.get("edit") ? "Changed, it is taken for" : "Without them", told.changed.prediction));
  const ablated = (state.get("ablate") ?? "").split(",").filter(Boolean);
  find("ablated").hidden = !ablated.length;
  find("list").textContent = ablated.map((each) => each.replace(/:(\d+)$/, " $1")).join(", ");
  find("near").hidden = !told.neighbours.length;
  find("neighbours").replaceChildren(...told.neighbours.map((near) => {
    const link = element("a", null, { href: near.page });
    const pic = element("span", null, { class: "pic" });
    if (near.thumbnail.url) pic.append(element("img", null, { src: near.thumbnail.url, alt: near.class_name ?? `image ${near.image_id}`, loading: "lazy" }));
    link.append(pic, element("span", `${near.class_name ?? near.image_id} ${near.similarity.toFixed(3)}`, { class: "small" }));
    const item = element("li", null);
    item.append(link);
    return item;
  }));
  neurons();
}

function guesses(title, prediction) {
  const list = element("ol", null, { class: "plain" });
  for (const guess of prediction) {
    const item = element("li", null);
    item.append(element("a", guess.class_name ?? `class ${guess.class_id}`, { href: guess.page }), " ", element("span", percent(guess.probability), { class: "number quiet" }));
    list.append(item);
  }
  const box = element("div", null);
  box.append(element("h2", title), list);
  return box;
}

function neurons() {
  const layer = told?.layers.find((each) => each.layer === find("layer").value);
  if (!layer) return;
  document.querySelector(".probe-neurons").hidden = false;
  find("neurons").replaceChildren(...layer.neurons.map((neuron) => {
    const row = element("tr", null);
    const name = element("td", null);
    const link = element("a", `${layer.layer} ${neuron.channel}`, { href: neuron.page });
    name.append(link);
    const stronger = neuron.beyond === null ? percent(neuron.quantile_low) : "all images";
    const out = element("button", "Take out", { type: "button", class: "button" });
    out.addEventListener("click", () => {
      const others = (state.get("ablate") ?? "").split(",").filter(Boolean);
      keep("ablate", [...new Set([...others, `${layer.layer}:${neuron.channel}`])].join(","));
      ask();
    });
    const last = element("td", null);
    last.append(out);
    row.append(name, element("td", neuron.response.toPrecision(4), { class: "number" }), element("td", stronger, { class: "number" }), last);
    for (const event of ["pointerenter", "focusin"]) row.addEventListener(event, () => light(neuron.box));
    return row;
  }));
}

/** The field of a neuron, on the image. */
function light(box) {
  const seen = find("seen");
  for (const old of seen.querySelectorAll("rect")) old.remove();
  for (const name of ["box-under", "box-over"]) {
    const mark = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [key, value] of Object.entries({ class: name, x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top })) mark.setAttribute(key, value);
    seen.append(mark);
  }
}

async function maps() {
  try {
    const answer = await send("/pictures", { layer: find("layer").value, kind: "maps" });
    const zeros = Number(answer.headers.get("neuron-atlas-zeros"));
    const reader = new FileReader();
    reader.onload = () => { const grid = find("grid"); grid.src = reader.result; grid.alt = `all maps of ${find("layer").value}`; grid.hidden = false; };
    reader.readAsDataURL(await answer.blob());
    find("zeros").textContent = `All maps of the layer on one scale; ${percent(zeros)} of the values are 0 (black).`;
  } catch (error) { say(error.message); }
}

async function film() {
  const video = find("live");
  try {
    live = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: 640 } });
  } catch { say("The camera cannot be used."); live = null; return; }
  keep("image", "");
  video.srcObject = live;
  video.hidden = false;
  find("seen").setAttribute("hidden", "");
  find("camera").textContent = "Stop the camera";
  await video.play();
  const canvas = document.createElement("canvas");
  while (live) {
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    body = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
    await ask(find("layer").value);
  }
}

function stop() {
  if (!live) return;
  for (const track of live.getTracks()) track.stop();
  live = null;
  find("live").hidden = true;
  find("camera").textContent = "Camera";
}
}
