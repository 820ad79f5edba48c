// Numbers as people read them: never more digits than the error supports.

const SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹";
const MOST = 5;

function power(exponent: number): string {
  const digits = [...String(Math.abs(exponent))].map((d) => SUPERSCRIPT[Number(d)]).join("");
  return ` × 10${exponent < 0 ? "⁻" : ""}${digits}`;
}

function fixed(value: number, decimals: number): string {
  const text = value.toFixed(Math.max(0, Math.min(decimals, 12)));
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
}

/** A value and its standard error with the same digits; `["–", ""]` where there is no number. */
export function rounded(value: number, error: number | null | undefined): [string, string] {
  if (!Number.isFinite(value)) return ["–", ""];
  const size = Math.max(Math.abs(value), Number.isFinite(error) ? Math.abs(error as number) : 0);
  if (size === 0) return ["0", ""];
  const top = Math.floor(Math.log10(size));
  const has = error !== null && error !== undefined && Number.isFinite(error) && error > 0;
  // Two digits of the error, but never more than five of the value: beyond, they are noise to a reader.
  let decimals = has ? 1 - Math.floor(Math.log10(error as number)) : MOST - 1 - top;
  decimals = Math.min(decimals, MOST - 1 - top);
  const shift = top >= 5 || top < -3 ? top : 0;
  const scale = 10 ** -shift;
  const shown = decimals + shift;
  const small = has && (error as number) * scale < 0.5 * 10 ** -Math.max(0, shown);
  const text = has && !small ? fixed((error as number) * scale, shown) : "";
  let number = fixed(value * scale, shown);
  if (!has && number.includes(".")) number = number.replace(/\.?0+$/, "");
  return [number + (shift ? power(shift) : ""), text && text + (shift ? power(shift) : "")];
}

/** The same in one line. */
export function shown(value: number, error?: number | null): string {
  const [number, plusMinus] = rounded(value, error ?? null);
  return plusMinus ? `${number} ± ${plusMinus}` : number;
}

/** A number on an axis. */
export function tick(value: number): string {
  if (value === 0) return "0";
  const top = Math.floor(Math.log10(Math.abs(value)) + 1e-9);
  if (top >= 5 || top < -3) {
    const mantissa = Number((value / 10 ** top).toPrecision(4));
    const minus = mantissa < 0 ? "−" : "";
    return Math.abs(mantissa) === 1
      ? `${minus}${power(top).slice(3)}`
      : `${String(mantissa).replace("-", "−")}${power(top)}`;
  }
  return String(Number(value.toPrecision(6))).replace("-", "−");
}

export function count(number: number): string {
  return number.toLocaleString("en").replaceAll(",", " ");
}
