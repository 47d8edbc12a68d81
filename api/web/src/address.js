// Place, zoom and choice of the map in the URL's fragment: #x=0.12&y=-0.3&z=4&grid=1&class=7
const HOME = { x: 0, y: 0, z: 1 };

export function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  const number = (name) => {
    const value = Number.parseFloat(given.get(name) ?? "");
    return Number.isFinite(value) ? value : HOME[name];
  };
  return { x: number("x"), y: number("y"), z: number("z"), grid: given.get("grid") === "1", class: given.get("class") ?? "" };
}

export function write({ x, y, z, grid, class: chosen }) {
  const given = new URLSearchParams();
  if (Math.abs(x) > 1e-4 || Math.abs(y) > 1e-4 || Math.abs(z - 1) > 1e-3) {
    given.set("x", x.toFixed(4)); given.set("y", y.toFixed(4)); given.set("z", z.toFixed(3));
  }
  if (grid) given.set("grid", "1");
  if (chosen !== "") given.set("class", chosen);
  const text = given.toString();
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}
