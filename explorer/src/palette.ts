// The colours of the reports: perceptually even, and told apart by colour-blind readers.

/** Equal steps of lightness in OKLab from green to indigo; on paper dark means more, on a dark page light does. */
const SCALE = ["#84d9ad", "#5cc5ac", "#35b0ab", "#0e99a8", "#0e819f", "#0f6996", "#205188", "#293975", "#2b215f"];
const ON_DARK = ["#31407f", "#2b5a96", "#1e74a3", "#178ba9", "#24a1ab", "#48b7ad", "#74cdb2", "#a5e3bf", "#dcf6d5"];

/** After Okabe and Ito 2008, and lighter on a dark page. */
const SERIES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#b8860b", "#6a3d9a", "#555f6b"];
const SERIES_DARK = ["#4aa8e0", "#f08a4b", "#35c79a", "#e3a1c6", "#8fd0f5", "#e0b84a", "#b394dd", "#a7b1bd"];

export const DASHES = ["", "6 3", "2 3", "8 3 2 3"];

export function isDark(): boolean {
  return document.documentElement.dataset.theme === "dark";
}

export function scale(): string[] {
  return isDark() ? ON_DARK : SCALE;
}

export function series(n: number): string {
  const colours = isDark() ? SERIES_DARK : SERIES;
  return colours[n % colours.length] as string;
}

/** Of a map that lies over a picture, which is the same on paper and on a dark page: dark means more. */
export const OVER_PICTURES = SCALE;

export function rgb(colour: string): [number, number, number] {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)) as [number, number, number];
}

/** The colour at a position in [0, 1]. */
export function along(position: number): [number, number, number] {
  const stops = scale();
  const place = Math.min(Math.max(position, 0), 1) * (stops.length - 1);
  const below = Math.min(Math.floor(place), stops.length - 2);
  const [a, b] = [rgb(stops[below] as string), rgb(stops[below + 1] as string)];
  return a.map((low, n) => Math.round(low + ((b[n] as number) - low) * (place - below))) as [number, number, number];
}

export function css([r, g, b]: [number, number, number], opacity = 1): string {
  return `rgb(${r} ${g} ${b} / ${opacity})`;
}
