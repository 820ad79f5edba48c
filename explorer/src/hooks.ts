import { useEffect, useRef, useState } from "preact/hooks";
import type { RefObject } from "preact";
import type { Column, Frame } from "./frame";

/** Width and height of an element, as it changes. */
export function useSize<T extends HTMLElement>(): [RefObject<T>, { width: number; height: number }] {
  const ref = useRef<T>(null);
  const [size, setSize] = useState({ width: 0, height: 0 });
  useEffect(() => {
    const element = ref.current;
    if (!element) return;
    const look = () => setSize({ width: element.clientWidth, height: element.clientHeight });
    const observer = new ResizeObserver(look);
    observer.observe(element);
    look();
    return () => observer.disconnect();
  }, []);
  return [ref, size];
}

/** Columns of a frame by name; read on first use, and null until all of them are there. */
export function useColumns(frame: Frame, names: string[]): (Column | null)[] | null {
  const [, setCount] = useState(0);
  const wanted = names.filter((name) => name && frame.has(name));
  const key = wanted.join("\n");
  useEffect(() => {
    let still = true;
    Promise.all(wanted.map((name) => frame.column(name))).then(() => still && setCount((n) => n + 1));
    return () => {
      still = false;
    };
  }, [frame, key]);
  if (!wanted.every((name) => frame.peek(name))) return null;
  return names.map((name) => (name ? frame.peek(name) : null));
}

export interface Loaded<T> {
  value: T | null;
  error: string;
}

/** What a promise gives; made again when a key changes. */
export function useLoaded<T>(make: () => Promise<T>, keys: unknown[]): Loaded<T> {
  const [loaded, setLoaded] = useState<Loaded<T>>({ value: null, error: "" });
  useEffect(() => {
    let still = true;
    setLoaded({ value: null, error: "" });
    make().then(
      (value) => still && setLoaded({ value, error: "" }),
      (error: Error) => still && setLoaded({ value: null, error: error.message }),
    );
    return () => {
      still = false;
    };
  }, keys);
  return loaded;
}
