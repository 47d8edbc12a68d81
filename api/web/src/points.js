// Points of a map: fetched as an Arrow stream, scaled to the square [-1, 1], with an index over places.
import { tableFromIPC } from "@uwdata/flechette";
import KDBush from "kdbush";

/** Reads a map. Throws an Error with a line for people where it cannot be had. */
export async function load(url) {
  const answer = await fetch(url, { headers: { Accept: "application/vnd.apache.arrow.stream" } });
  if (!answer.ok) throw new Error(`the points could not be had (${answer.status})`);
  const table = tableFromIPC(new Uint8Array(await answer.arrayBuffer()), { useBigInt: false });
  const column = (name) => table.getChild(name)?.toArray() ?? null;
  const ids = Float64Array.from(column("image_id"), Number);
  const classes = Int32Array.from(column("class_id") ?? new Array(ids.length).fill(-1), (c) => c ?? -1);
  const scatter = square(column("x"), column("y"));
  const rows = column("grid_row");
  const hasGrid = rows !== null && ids.length > 0 && rows[0] !== null && rows[0] !== undefined;
  const grid = hasGrid ? cells(rows, column("grid_column")) : null;
  return { ids, classes, count: ids.length, scatter, grid };
}

/** Coordinates in one square, at one scale for x and y, and an index over them. */
function square(x, y) {
  let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let i = 0; i < x.length; i++) {
    left = Math.min(left, x[i]); right = Math.max(right, x[i]);
    top = Math.min(top, y[i]); bottom = Math.max(bottom, y[i]);
  }
  const half = Math.max(right - left, bottom - top) / 2 || 1;
  const places = new Float32Array(2 * x.length);
  for (let i = 0; i < x.length; i++) {
    places[2 * i] = (x[i] - (left + right) / 2) / half;
    places[2 * i + 1] = (y[i] - (top + bottom) / 2) / half;
  }
  return indexed(places, 0);
}

/** The grid arrangement: each image in a cell of its own. `cell` is the cell's side in the square. */
function cells(rows, columns) {
  let [height, width] = [1, 1];
  for (let i = 0; i < rows.length; i++) {
    height = Math.max(height, rows[i] + 1);
    width = Math.max(width, columns[i] + 1);
  }
  const cell = 2 / Math.max(height, width);
  const places = new Float32Array(2 * rows.length);
  for (let i = 0; i < rows.length; i++) {
    places[2 * i] = (columns[i] + 0.5 - width / 2) * cell;
    places[2 * i + 1] = (rows[i] + 0.5 - height / 2) * cell;
  }
  return indexed(places, cell);
}

function indexed(places, cell) {
  const index = new KDBush(places.length / 2, 64, Float32Array);
  for (let i = 0; i < places.length; i += 2) index.add(places[i], places[i + 1]);
  if (places.length) index.finish();
  return { places, index: places.length ? index : null, cell };
}
