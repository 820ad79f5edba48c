// What is looked at: kept in the address, so that a link or a bookmark brings the whole view back.
import type { Column, Frame } from "./frame";

export interface Filter {
  column: string;
  kind: "least" | "most" | "status" | "is";
  value: string;
}

export interface View {
  run: number;
  view: string;
  x: string;
  y: string;
  c: string;
  sort: string;
  descending: boolean;
  group: string;
  filters: Filter[];
  search: string;
  selected: number[];
  focus: number | null;
  /** Settings of single views, e.g. the quantity of `pairs`, by name. */
  more: Record<string, string>;
}

export const EMPTY: View = {
  run: 0,
  view: "",
  x: "",
  y: "",
  c: "",
  sort: "",
  descending: true,
  group: "",
  filters: [],
  search: "",
  selected: [],
  focus: null,
  more: {},
};

/** Rows as ranges: `0-4,9`. */
export function ranges(rows: number[]): string {
  const sorted = [...rows].sort((a, b) => a - b);
  const parts: string[] = [];
  for (let i = 0; i < sorted.length; ) {
    let j = i;
    while (j + 1 < sorted.length && sorted[j + 1] === (sorted[j] as number) + 1) j++;
    parts.push(j > i ? `${sorted[i]}-${sorted[j]}` : `${sorted[i]}`);
    i = j + 1;
  }
  return parts.join(",");
}

export function rowsOf(text: string, most: number): number[] {
  const rows = new Set<number>();
  for (const part of text.split(",")) {
    const match = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(part);
    if (!match) continue;
    const last = Math.min(Number(match[2] ?? match[1]), most - 1);
    for (let row = Number(match[1]); row <= last; row++) rows.add(row);
  }
  return [...rows];
}

const KINDS: Record<string, Filter["kind"]> = { ">": "least", "<": "most", "!": "status", "=": "is" };
const SIGNS: Record<Filter["kind"], string> = { least: ">", most: "<", status: "!", is: "=" };

export function toHash(view: View): string {
  const query = new URLSearchParams();
  const put = (name: string, value: string) => value && query.set(name, value);
  put("run", view.run ? String(view.run) : "");
  put("view", view.view);
  for (const name of ["x", "y", "c", "group", "search"] as const) put(name, view[name]);
  put("sort", view.sort && `${view.descending ? "-" : ""}${view.sort}`);
  for (const filter of view.filters) query.append("f", `${SIGNS[filter.kind]}${filter.value}|${filter.column}`);
  put("sel", ranges(view.selected));
  put("at", view.focus === null ? "" : String(view.focus));
  for (const [name, value] of Object.entries(view.more)) put(`m.${name}`, value);
  return `#${query}`;
}

export function fromHash(hash: string): View {
  const query = new URLSearchParams(hash.replace(/^#/, ""));
  const get = (name: string) => query.get(name) ?? "";
  const filters = query.getAll("f").flatMap((text): Filter[] => {
    const kind = KINDS[text[0] ?? ""];
    const bar = text.indexOf("|");
    return kind && bar > 0 ? [{ kind, value: text.slice(1, bar), column: text.slice(bar + 1) }] : [];
  });
  const sort = get("sort");
  const at = /^\d{1,9}$/.exec(get("at"));
  const more = [...query].filter(([name]) => name.startsWith("m.")).map(([name, value]) => [name.slice(2), value]);
  return {
    ...EMPTY,
    run: Number(/^\d{1,4}$/.exec(get("run"))?.[0] ?? 0),
    view: get("view"),
    x: get("x"),
    y: get("y"),
    c: get("c"),
    group: get("group"),
    search: get("search"),
    sort: sort.replace(/^-/, ""),
    descending: sort === "" || sort.startsWith("-"),
    filters,
    selected: rowsOf(get("sel"), 1e7),
    focus: at ? Number(at[0]) : null,
    more: Object.fromEntries(more) as Record<string, string>,
  };
}

/** The rows that every filter and the search let through, in the order of the sorted column. */
export function visible(frame: Frame, view: View): number[] {
  const needle = view.search.trim().toLowerCase();
  const tests = view.filters.map((filter) => test(frame, filter));
  const rows: number[] = [];
  for (let row = 0; row < frame.rows; row++) {
    if (!tests.every((passes) => passes(row))) continue;
    if (needle && !`${frame.title(row)} ${frame.unit(row)}`.toLowerCase().includes(needle)) continue;
    rows.push(row);
  }
  return sorted(frame, view, rows);
}

function test(frame: Frame, filter: Filter): (row: number) => boolean {
  if (filter.kind === "is") {
    const values = frame.keys.get(filter.column);
    return (row) => String(values?.[row] ?? "") === filter.value;
  }
  const column = frame.peek(filter.column);
  if (!column) return () => true; // it is being read: the rows are gone through again when it is there
  const bound = Number(filter.value);
  if (filter.kind === "least") return (row) => (column.value[row] as number) >= bound;
  if (filter.kind === "most") return (row) => (column.value[row] as number) <= bound;
  const place = frame.about.statuses.findIndex((status) => status.name === filter.value);
  return (row) => column.status[row] === place;
}

/** By the column, what is no number last; groups stay together. */
function sorted(frame: Frame, view: View, rows: number[]): number[] {
  const column = view.sort ? frame.peek(view.sort) : null;
  const words = view.sort && !column ? frame.keys.get(view.sort) : null;
  const groups = view.group ? frame.keys.get(view.group) : null;
  if (!column && !words && !groups) return rows;
  const sign = view.descending ? -1 : 1;
  const compared = (a: number, b: number): number => {
    if (groups) {
      const order = String(groups[a]).localeCompare(String(groups[b]));
      if (order) return order;
    }
    if (column) {
      const [va, vb] = [column.value[a] as number, column.value[b] as number];
      if (Number.isNaN(va) || Number.isNaN(vb)) return Number(Number.isNaN(va)) - Number(Number.isNaN(vb)) || a - b;
      return sign * (va - vb) || a - b;
    }
    if (words) return sign * String(words[a] ?? "").localeCompare(String(words[b] ?? "")) || a - b;
    return a - b;
  };
  return rows.sort(compared);
}

/** Columns that must be there before `visible` tells the truth. */
export function needed(frame: Frame, view: View): string[] {
  const names = [view.sort, ...view.filters.filter((filter) => filter.kind !== "is").map((filter) => filter.column)];
  return [...new Set(names)].filter((name) => name && frame.has(name));
}

/** Lowest and highest finite value of some rows; null where there is none. */
export function extent(column: Column, rows: Iterable<number>): [number, number] | null {
  let [low, high] = [Infinity, -Infinity];
  for (const row of rows) {
    const value = column.value[row] as number;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high && Number.isFinite(low) && Number.isFinite(high) ? [low, high] : null;
}

/** Whether only a logarithm shows these values evenly. */
export function isWide([low, high]: [number, number]): boolean {
  return low > 0 && high / low > 50;
}
