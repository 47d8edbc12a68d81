// A colour for each class: hand-picked ones for a few classes, a turn through the hues for many.
const FEW = [
  [231, 111, 81], [42, 157, 143], [233, 196, 106], [91, 143, 217], [193, 102, 193], [130, 177, 72],
  [214, 84, 130], [86, 186, 214], [186, 140, 99], [140, 126, 222], [244, 162, 97], [120, 144, 156],
];
export const NONE = [140, 140, 140];

/** `[red, green, blue]`, 0 to 255, of class `number` among `count`. */
export function colour(number, count) {
  if (number < 0) return NONE;
  if (count <= FEW.length) return FEW[number % FEW.length];
  return oklch(number % 2 ? 0.74 : 0.64, 0.15, (2 * Math.PI * number) / count);
}

/** OKLCH to sRGB (Ottosson 2020). */
function oklch(lightness, chroma, hue) {
  const a = chroma * Math.cos(hue), b = chroma * Math.sin(hue);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map((v) => {
    const c = Math.min(1, Math.max(0, v));
    return Math.round(255 * (c <= 0.0031308 ? 12.92 * c : 1.055 * c ** (1 / 2.4) - 0.055));
  });
}
