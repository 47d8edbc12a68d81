// Points near enough to look at become pictures: links laid over the canvas, one a cell, so that few overlap.
const CELL = 52; // CSS pixels of a cell where a level of zoom begins; it doubles until the next one
const MOST = 5000; // with more points than this in view there are no pictures yet

/** Which points become pictures, and how large: `{side, chosen: [point]}`. */
export function choose(layout, view, zoom, rank) {
  if (!layout.index) return { side: 0, chosen: [] };
  const margin = 60 / view.scale;
  const inView = layout.index.range(
    -view.left / view.scale - margin, -view.top / view.scale - margin,
    (view.width - view.left) / view.scale + margin, (view.height - view.top) / view.scale + margin,
  );
  if (inView.length > MOST) return { side: 0, chosen: [] };
  if (layout.cell) {
    const side = layout.cell * view.scale * 0.94;
    return side < 22 || inView.length > 1600 ? { side: 0, chosen: [] } : { side, chosen: inView };
  }
  if (zoom < 1.5) return { side: 0, chosen: [] };
  const level = 2 ** Math.floor(Math.log2(zoom));
  const cell = CELL / ((view.scale / zoom) * level); // in the square's units, the same while panning
  const best = new Map();
  for (const point of inView) {
    const key = `${Math.floor(layout.places[2 * point] / cell)} ${Math.floor(layout.places[2 * point + 1] / cell)}`;
    const other = best.get(key);
    if (other === undefined || rank[point] < rank[other]) best.set(key, point);
  }
  return { side: 0.8 * cell * view.scale, chosen: [...best.values()] };
}

/** Lays pictures into `box`; `make(point)` gives a link with its picture. */
export function layer(box, make) {
  const shown = new Map();
  return {
    /** While the map moves (`settled` false) those there are carried along, and none is asked for. */
    show(layout, view, { side, chosen }, settled) {
      const wanted = new Set(settled || side === 0 ? chosen : chosen.filter((point) => shown.has(point)));
      for (const [point, link] of shown) {
        if (!wanted.has(point)) { link.remove(); shown.delete(point); }
      }
      for (const point of wanted) {
        let link = shown.get(point);
        if (!link) { link = make(point); shown.set(point, link); box.append(link); }
        const x = layout.places[2 * point] * view.scale + view.left - side / 2;
        const y = layout.places[2 * point + 1] * view.scale + view.top - side / 2;
        link.style.transform = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px)`;
        link.style.width = link.style.height = `${side.toFixed(1)}px`;
      }
    },
    clear() { for (const link of shown.values()) link.remove(); shown.clear(); },
    get size() { return shown.size; },
  };
}
