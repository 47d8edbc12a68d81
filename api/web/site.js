"use strict";
// What script adds to pages that work without it: keys, switches in the URL, endless walls, suggestions, lit fields.
{
keys();
switches();
endless();
suggestions();
spots();
liveForms();
classNames();
results();
sliders();
drawn();

/** Pictures that the build did not make are asked of the probe once they are seen, one after another. */
function drawn() {
  const waiting = [];
  let busy = false;
  const watch = new IntersectionObserver((seen) => {
    for (const each of seen.filter((s) => s.isIntersecting)) {
      watch.unobserve(each.target);
      waiting.push(each.target);
    }
    next();
  });
  for (const place of document.querySelectorAll("[data-ask]")) watch.observe(place);
  async function next() {
    if (busy) return;
    busy = true;
    while (waiting.length) {
      const place = waiting.shift();
      place.textContent = "being drawn …";
      await draw(place).catch((error) => { place.textContent = error.message; });
    }
    busy = false;
  }
  async function draw(place) {
    const answer = await fetch(place.dataset.ask).catch(() => { throw new Error("The service cannot be reached."); });
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail ?? "The probe cannot be reached.");
    const said = [...answer.headers].filter(([name]) => name.startsWith("neuron-atlas-"))
      .map(([name, value]) => [name.slice("neuron-atlas-".length), value]);
    const image = document.createElement("img"), reader = new FileReader();
    const read = new Promise((done, failed) => { reader.onload = done; reader.onerror = () => failed(reader.error); });
    reader.readAsDataURL(await answer.blob());
    await read;
    image.alt = "";
    image.src = reader.result;
    const cell = place.parentElement;
    cell.title = said.map(([name, value]) => `${name.replaceAll("-", " ")} ${value}`).join(", ");
    cell.replaceChildren(image);
    if (said.some(([name, value]) => name === "source" && value === "frame")) {
      const mark = document.createElement("span");
      mark.className = "says";
      mark.textContent = "approximate";
      cell.append(mark);
    }
  }
}

/** A list with data-slider shows one of its items, chosen by a slider before it; its words are the item's own. */
function sliders() {
  for (const list of document.querySelectorAll("[data-slider]")) {
    const items = [...list.children];
    if (items.length < 2) continue;
    const label = document.createElement("label"), range = document.createElement("input");
    label.className = "small quiet";
    range.type = "range"; range.min = "0"; range.max = String(items.length - 1); range.step = "1"; range.value = "0";
    label.append(`${list.dataset.slider} `, range);
    list.before(label);
    const show = () => {
      items.forEach((item, number) => { item.hidden = number !== Number(range.value); });
      range.setAttribute("aria-valuetext", items[Number(range.value)].innerText.trim());
    };
    range.addEventListener("input", show);
    show();
  }
}

/** Arrow keys follow the links that carry data-key; / goes to the search field. */
function keys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    if (event.target.closest("input, select, textarea, [tabindex='0'], .switch")) return;
    if (event.key === "/") {
      const field = document.querySelector(".seek input");
      if (field) { event.preventDefault(); field.focus(); }
      return;
    }
    const vertical = event.key === "ArrowUp" || event.key === "ArrowDown";
    if (vertical && document.documentElement.scrollHeight > window.innerHeight + 4) return; // these keys scroll
    const link = document.querySelector(`a[data-key="${event.key}"]`);
    if (link) { event.preventDefault(); location.href = link.href + location.hash; }
  });
  for (const link of document.querySelectorAll("a[data-key]")) { // by pointer, too, the switches stay as they are
    link.addEventListener("click", () => { link.hash = location.hash; });
  }
}

/** Radio switches stand in the URL's fragment (#side=min&view=guided), and come back from it. */
function switches() {
  const radios = [...document.querySelectorAll(".switch input[type=radio]")];
  if (!radios.length) return;
  const groups = new Map();
  for (const radio of radios) {
    if (!groups.has(radio.name)) groups.set(radio.name, []);
    groups.get(radio.name).push(radio);
  }
  const restore = () => {
    const asked = new URLSearchParams(location.hash.slice(1));
    for (const [name, group] of groups) {
      const wanted = group.find((radio) => radio.value === asked.get(name)) ?? group.find((radio) => radio.defaultChecked);
      wanted.checked = true;
    }
  };
  for (const radio of radios) {
    radio.addEventListener("change", () => {
      const state = new URLSearchParams();
      for (const [name, group] of groups) {
        const chosen = group.find((r) => r.checked);
        if (chosen && !chosen.defaultChecked) state.set(name, chosen.value);
      }
      const text = state.toString();
      history.replaceState(history.state, "", text ? `#${text}` : location.pathname + location.search);
    });
  }
  for (const field of document.querySelectorAll("fieldset.switch")) {
    // A pointer's choice gives the arrow keys back to the page; a keyboard's keeps them.
    field.addEventListener("pointerup", () => setTimeout(() => document.activeElement?.blur(), 0));
  }
  window.addEventListener("hashchange", restore);
  restore();
}

/** A wall, or a gallery, takes in the following pages as one scrolls; the link at its end stays for all else. */
function endless() {
  const link = document.querySelector(".more a[rel=next]");
  const wall = link?.closest("section")?.querySelector(".wall:not(.paged), .gallery");
  if (!wall) return;
  const bar = link.parentElement;
  const watch = new IntersectionObserver((seen) => { if (seen.some((s) => s.isIntersecting)) next(); }, { rootMargin: "1800px" });
  // Which part of the wall is in view stands in the URL, so that it can be shared, and comes back.
  const parts = [{ first: wall.firstElementChild, address: location.pathname + location.search }];
  let due = 0;
  window.addEventListener("scroll", () => {
    clearTimeout(due);
    due = setTimeout(() => {
      const here = parts.findLast((part, i) => i === 0 || part.first.getBoundingClientRect().top < window.innerHeight / 2);
      const address = new URL(here.address, location.href);
      if (address.search === location.search) return;
      history.replaceState(history.state, "", address.pathname + address.search + location.hash);
      history.scrollRestoration = here === parts[0] ? "auto" : "manual";
    }, 150);
  }, { passive: true });
  let busy = false;
  async function next() {
    if (busy) return;
    busy = true;
    bar.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(link.href);
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const selector = wall.classList.contains("wall") ? ".wall" : `section .${wall.classList[0]}`;
      const more = [...page.querySelector(selector).children];
      if (more.length) parts.push({ first: more[0], address: link.href });
      wall.append(...more);
      const following = page.querySelector(".more a[rel=next]");
      if (following) {
        link.href = new URL(following.getAttribute("href"), answer.url).href;
        watch.unobserve(bar);
        watch.observe(bar);
      } else {
        watch.disconnect();
        bar.remove();
      }
    } catch {
      watch.disconnect(); // the link is still there
    }
    bar.removeAttribute("aria-busy");
    busy = false;
  }
  watch.observe(bar);
}

/** Suggestions under the search field, from the same search as its page. */
function suggestions() {
  const form = document.querySelector("form.seek");
  if (!form) return;
  const field = form.querySelector("input");
  const list = document.createElement("div");
  list.className = "suggestions";
  list.id = "suggestions";
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Suggestions");
  list.hidden = true;
  form.append(list);
  Object.entries({ role: "combobox", "aria-controls": list.id, "aria-expanded": "false", "aria-autocomplete": "list" })
    .forEach(([name, value]) => field.setAttribute(name, value));
  let asked = 0, chosen = -1, waiting = 0;

  function show(hits) {
    chosen = -1;
    field.removeAttribute("aria-activedescendant");
    list.replaceChildren(...hits.slice(0, 9).map((hit, i) => {
      const link = document.createElement("a");
      const detail = document.createElement("span");
      link.href = hit.page;
      link.id = `suggestion-${i}`;
      link.tabIndex = -1;
      link.setAttribute("role", "option");
      link.setAttribute("aria-selected", "false");
      link.textContent = hit.name;
      detail.className = "quiet small";
      detail.textContent = hit.detail;
      link.append(detail);
      return link;
    }));
    list.hidden = !list.children.length;
    field.setAttribute("aria-expanded", String(!list.hidden));
  }
  async function ask() {
    const q = field.value.trim();
    const turn = ++asked;
    const hits = q ? await find(form, q).catch(() => []) : [];
    if (turn === asked && document.activeElement === field) show(hits);
  }
  field.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(ask, 90); });
  field.addEventListener("keydown", (event) => {
    const links = [...list.children];
    if (event.key === "Escape") { show([]); return; }
    if (event.key === "Enter" && chosen >= 0) { event.preventDefault(); links[chosen].click(); return; }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !links.length) return;
    event.preventDefault();
    if (chosen >= 0) links[chosen].setAttribute("aria-selected", "false");
    chosen = (chosen + step + links.length) % links.length;
    links[chosen].setAttribute("aria-selected", "true");
    field.setAttribute("aria-activedescendant", links[chosen].id);
  });
  field.addEventListener("blur", () => setTimeout(() => show([]), 150));
}

/** What is called like `q`: `[{name, detail, page}]`, from the service, or in a static site from its index. */
async function find(form, q) {
  if (form.dataset.suggest) {
    const answer = await fetch(`${form.dataset.suggest}?q=${encodeURIComponent(q)}`);
    return answer.ok ? (await answer.json()).items : [];
  }
  const base = new URL(form.dataset.index, location.href);
  const index = await (await fetch(base)).json();
  const low = q.toLowerCase();
  const to = (path) => new URL(path, base).href;
  const hits = index.layers.filter(([name]) => name.toLowerCase().includes(low))
    .map(([name, kind, channels, file]) => ({ kind: "layer", name, detail: `${kind}, ${channels} neuron${channels === 1 ? "" : "s"}`, page: to(`layers/${file}.html`) }));
  const neuron = /^(.+?)[\s:/#]+([0-9]{1,9})$/.exec(low);
  if (neuron) {
    for (const [name, , channels, file] of index.layers) {
      if (!name.toLowerCase().includes(neuron[1]) || Number(neuron[2]) >= channels) continue;
      hits.push({ kind: "neuron", name: `${name} ${Number(neuron[2])}`, detail: "", page: to(`neurons/${file}/${Number(neuron[2])}.html`) });
    }
  }
  for (const [number, name] of index.classes) {
    if (name.toLowerCase().includes(low) || String(number) === q) hits.push({ kind: "class", name, detail: `class ${number}`, page: to(`classes/${number}.html`) });
  }
  if (/^(0|[1-9][0-9]*)$/.test(q) && Number(q) < index.listed && !index.left_out.includes(Number(q))) {
    hits.push({ kind: "image", name: `image ${q}`, detail: "", page: to(`images/${q}.html`) });
  }
  return hits.slice(0, 60);
}

/** The search page of a static site: its results, from the index. */
async function results() {
  const list = document.querySelector("[data-results]");
  const q = new URLSearchParams(location.search).get("q")?.trim();
  if (!list || !q) return;
  const form = document.querySelector("form.seek");
  form.querySelector("input").value = q;
  document.querySelector("h1").textContent = `“${q}”`;
  const hits = await find(form, q);
  list.replaceChildren(...hits.map((hit) => {
    const item = document.createElement("li"), link = document.createElement("a"), detail = document.createElement("span");
    link.href = hit.page;
    link.textContent = hit.name;
    detail.className = "quiet small";
    detail.textContent = ` ${hit.detail}`;
    item.append(link, detail);
    return item;
  }));
  if (!hits.length) list.textContent = "Nothing is called like that.";
}

/** On an image's page a neuron's field lights up while its link is under the pointer, or has the focus. */
function spots() {
  const list = document.querySelector("[data-spots]");
  if (!list) return;
  const set = (event, on) => {
    const link = event.target.closest("[data-spot]");
    const spot = link && document.getElementById(link.dataset.spot);
    if (!spot) return;
    spot.classList.toggle("on", on);
    spot.ownerSVGElement.classList.toggle("choosing", on);
  };
  for (const [type, on] of [["pointerover", true], ["pointerout", false], ["focusin", true], ["focusout", false]]) {
    list.addEventListener(type, (event) => set(event, on));
  }
}

/** A form of choices takes effect at once; what is empty stays out of the URL. */
function liveForms() {
  for (const form of document.querySelectorAll("form[data-live]")) {
    form.classList.toggle("live", !form.querySelector("input")); // nothing to press a button for
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!form.reportValidity()) return;
      const asked = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
      location.href = `${form.action}?${asked}${location.hash}`;
    });
    for (const choice of form.querySelectorAll("select")) choice.addEventListener("change", () => form.requestSubmit());
  }
}

/** Names for the class field, once somebody means to use it. */
function classNames() {
  const field = document.querySelector("input[data-classes]");
  field?.addEventListener("focus", async () => {
    const list = document.getElementById(field.getAttribute("list"));
    let cursor = null;
    do {
      const answer = await fetch(`${field.dataset.classes}?limit=500${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
      if (!answer.ok) return;
      const page = await answer.json();
      for (const one of page.items) {
        const option = document.createElement("option");
        option.value = String(one.class_id);
        option.label = one.class_name ?? `class ${one.class_id}`;
        list.append(option);
      }
      cursor = page.next;
    } while (cursor);
  }, { once: true });
}
}
