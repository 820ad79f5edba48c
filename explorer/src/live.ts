// What the model of the live panel answers, and the line in which requests wait.
import { useEffect, useRef } from "preact/hooks";
import { ask } from "./source";

export interface Told {
  label: string;
  unit: string;
  value: number | null;
  stderr: number | null;
  status: string;
  message: string;
  passes: number;
}

export interface Answer {
  error?: string;
  superseded?: boolean;
  image: string | null;
  difference: string | null;
  largest: number;
  moved: number;
  changed: number;
  seconds: number;
  numbers?: Told[] | null;
  gain?: { picture: string; low: number; high: number; stderr: number; status: string };
  spent?: number;
}

export interface Chosen extends Answer {
  sigma: { leading: number[]; trailing?: number[] };
  errors?: number[];
  dimension: number;
  outputs: number;
  denseSeconds?: number;
}

export interface Way {
  error?: string;
  length: number;
  stderr: number;
  straight: number;
  status: string;
  spent: number;
}

export type Mode = "directions" | "line" | "plane";

export interface At {
  leading: number[];
  trailing: number[];
  t: number;
  s: number;
  u: number;
}

export const HOME: At = { leading: [0, 0, 0, 0], trailing: [0, 0, 0, 0], t: 0, s: 0, u: 0 };

/** One request at a time; while one is answered only the latest turn waits. */
export function useLine(setError: (text: string) => void, setBusy: (text: string) => void) {
  const state = useRef({
    running: false,
    waiting: null as null | (() => void),
    queue: [] as (() => void)[],
    still: true,
  });
  useEffect(() => {
    state.current.still = true;
    return () => {
      state.current.still = false;
    };
  }, []);
  const next = () => {
    const job = state.current.queue.shift() ?? state.current.waiting;
    if (job === state.current.waiting) state.current.waiting = null;
    if (job) job();
    else setBusy("");
  };
  const send =
    <T extends { error?: string; superseded?: boolean }>(request: object, then: (answer: T) => void) =>
    async () => {
      state.current.running = true;
      try {
        const answer = await ask<T>(request);
        if (!state.current.still) return;
        if (answer.error) setError(answer.error);
        else if (!answer.superseded) {
          setError("");
          then(answer);
        }
      } catch (error) {
        if (state.current.still) setError((error as Error).message);
      } finally {
        state.current.running = false;
        if (state.current.still) next();
      }
    };
  const start = () => {
    if (!state.current.running) next();
  };
  return {
    now<T extends { error?: string }>(request: object, then: (answer: T) => void) {
      state.current.queue.push(send<T>(request, then));
      start();
    },
    /** In place of the turn that waits: this tells more of the same place. */
    instead<T extends { error?: string }>(request: object, then: (answer: T) => void) {
      state.current.waiting = null;
      state.current.queue.push(send<T>(request, then));
      start();
    },
    latest<T extends { error?: string }>(request: object, then: (answer: T) => void) {
      state.current.waiting = send<T>(request, then);
      start();
    },
  };
}
