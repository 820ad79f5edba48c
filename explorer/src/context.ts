// What every view is given.
import type { Frame } from "./frame";
import type { View } from "./state";

export interface Live {
  model: string;
}

export interface Context {
  frame: Frame;
  frames: { name: string; kind: string }[];
  view: View;
  rows: number[];
  selected: Set<number>;
  theme: string;
  live: Live | null;
  /** Change what is looked at. */
  go(change: Partial<View>): void;
  more(name: string, value: string): void;
  select(rows: number[], how: "set" | "toggle" | "add"): void;
  focus(row: number | null): void;
  hover(row: number | null, x: number, y: number): void;
}
