// The live panel: a latent that one turns, and what the model makes of it.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Context } from "./context";
import { count, shown } from "./format";
import { Empty, Loading, Thumbnail } from "./parts";
import { ask } from "./source";

interface Told {
  label: string;
  unit: string;
  value: number | null;
  stderr: number | null;
  status: string;
  message: string;
  passes: number;
}

interface Answer {
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

interface Chosen extends Answer {
  sigma: { leading: number[]; trailing?: number[] };
  errors?: number[];
  dimension: number;
  outputs: number;
  denseSeconds?: number;
}

interface Way {
  error?: string;
  length: number;
  stderr: number;
  straight: number;
  status: string;
  spent: number;
}

type Mode = "directions" | "line" | "plane";

interface At {
  leading: number[];
  trailing: number[];
  t: number;
  s: number;
  u: number;
}

const HOME: At = { leading: [0, 0, 0, 0], trailing: [0, 0, 0, 0], t: 0, s: 0, u: 0 };
const STILL = 450;

export function Turn({ context }: { context: Context }) {
  const { frame, view, rows } = context;
  const row = view.focus ?? rows[0] ?? 0;
  const mode = (["directions", "line", "plane"].includes(view.more.mode ?? "") ? view.more.mode : "directions") as Mode;
  return (
    <div class="view scroll">
      <div class="controls">
        <label>Sample <Sample context={context} value={row} onChange={(next) => context.focus(next)} label="sample" /></label>
        <span class="segmented" role="radiogroup" aria-label="how it is turned">
          {(["directions", "line", "plane"] as Mode[]).map((name) => (
            <button key={name} role="radio" aria-checked={name === mode} class={name === mode ? "on" : ""} onClick={() => context.more("mode", name)}>
              {{ directions: "singular directions", line: "way to another", plane: "plane of three" }[name]}
            </button>
          ))}
        </span>
      </div>
      <Panel key={`${frame.run} ${row}`} context={context} row={row} mode={mode} />
    </div>
  );
}

function Sample({ context, value, onChange, label }: { context: Context; value: number; onChange(row: number): void; label: string }) {
  const { frame, rows, selected } = context;
  const chosen = [...selected].filter((row) => row !== value);
  const listed = useMemo(() => [...new Set([value, ...chosen, ...rows.slice(0, 400)])], [value, rows, selected]);
  return (
    <select aria-label={label} value={String(value)} onChange={(event) => onChange(Number(event.currentTarget.value))}>
      {listed.map((row) => <option key={row} value={String(row)}>{frame.title(row)}</option>)}
    </select>
  );
}

function Panel({ context, row, mode }: { context: Context; row: number; mode: Mode }) {
  const { frame, rows, selected, view } = context;
  const unit = frame.unit(row);
  const others = useMemo(() => {
    const pool = [...selected, ...rows].filter((other) => other !== row);
    return [...new Set(pool)];
  }, [selected, rows, row]);
  const pick = (name: string, n: number) => {
    const stored = Number(view.more[name] ?? NaN);
    return Number.isInteger(stored) && stored >= 0 && stored < frame.rows ? stored : (others[n] ?? row);
  };
  const [first, second] = [pick("first", 0), pick("second", 1)];
  const [at, setAt] = useState<At>(HOME);
  const [chosen, setChosen] = useState<Chosen | null>(null);
  const [now, setNow] = useState<Answer | null>(null);
  const [numbers, setNumbers] = useState<Told[] | null>(null);
  const [measured, setMeasured] = useState<Answer | null>(null);
  const [way, setWay] = useState<Way | null>(null);
  const [curved, setCurved] = useState(false);
  const [error, setError] = useState("");
  const [note, setNote] = useState("");
  const [busy, setBusy] = useState("the model is opened");
  const line = useLine(setError, setBusy);

  const request = (next: At) => {
    const base = { run: frame.run, unit };
    if (mode === "directions") return { ...base, moves: { leading: next.leading, trailing: next.trailing } };
    if (mode === "line") return { ...base, to: { unit: frame.unit(first), t: next.t, way: curved && way ? "geodesic" : "line" } };
    return { ...base, plane: { first: frame.unit(first), second: frame.unit(second), s: next.s, t: next.u } };
  };

  function choose(dense: boolean) {
    setBusy(dense ? "the whole Jacobian is taken" : "the model is opened, and its directions at this sample are found");
    line.now<{ model: string; others: number[]; error?: string }>({ do: "open" }, (opened) => {
      setNote(opened.others.includes(frame.run) ? `${opened.model} is another model than the one that this run measured.` : "");
      line.now<Chosen>({ do: "choose", run: frame.run, unit, dense }, (answer) => {
        setChosen(answer);
        setNow(answer);
        stop(HOME);
      });
    });
  }

  const timer = useRef(0);
  const moves = useRef(0);
  function stop(next: At) {
    clearTimeout(timer.current);
    const move = ++moves.current;
    timer.current = window.setTimeout(() => {
      setBusy("numbers are measured");
      line.instead<Answer>({ do: "measure", ...request(next) }, (answer) => {
        if (move !== moves.current) return; // one moved on meanwhile
        setNow(answer);
        setNumbers(answer.numbers ?? null);
        setMeasured(answer);
      });
    }, STILL);
  }

  function move(next: At) {
    setAt(next);
    setMeasured(null);
    line.latest<Answer>({ do: "turn", ...request(next) }, (answer) => {
      setNow(answer);
      setNumbers(answer.numbers ?? null);
    });
    stop(next);
  }

  useEffect(() => {
    choose(false);
    return () => clearTimeout(timer.current);
  }, []);
  useEffect(() => {
    if (chosen) move({ ...HOME, t: mode === "line" ? 0.5 : 0, s: mode === "plane" ? 0.33 : 0, u: mode === "plane" ? 0.33 : 0 });
    setWay(null);
    setCurved(false);
  }, [mode, first, second]);
  useEffect(() => {
    if (chosen && mode === "line") move(at);
  }, [curved]);

  if (error && !chosen) return <Empty>{error}</Empty>;
  if (!chosen) return <Loading what={busy || "the model is opened"} />;
  return (
    <div class="turn">
      <div class="stage">
        <Shot title={`${frame.title(row)}, turned`} src={now?.image} big />
        <Shot title={now && now.largest > 1e-9 ? `difference: grey none, ± ${brief(now.largest)}` : "difference: none yet"} src={now?.difference} />
        <Shot title={measured?.gain ? `gain by location: ${brief(measured.gain.low)} to ${brief(measured.gain.high)}${measured.gain.stderr > 0 ? `, ± ${Number(measured.gain.stderr.toPrecision(2))}` : ""}` : "gain by location: when you stop"}
          src={measured?.gain?.picture} flag={measured?.gain?.status} />
        <div class="reach">
          <p><b>{now ? `${(100 * now.moved).toPrecision(2)} %` : "–"}</b> of the latent's length moved</p>
          <p><b>{now ? brief(now.changed) : "–"}</b> RMS change of the output</p>
          <p class="note">{now ? `${Number((1 / Math.max(now.seconds, 1e-4)).toPrecision(2))} passes a second` : ""}, {count(chosen.dimension)} latent entries</p>
          <p class="note" role="status">{busy ? <Waiting what={busy} /> : "measured"}</p>
        </div>
      </div>
      <div class="handles">
        {mode === "directions" && <Directions chosen={chosen} at={at} move={move} dense={() => choose(true)} />}
        {mode === "line" && (
          <fieldset>
            <legend>On the way to <Sample context={context} value={first} label="other sample" onChange={(next) => context.more("first", String(next))} /></legend>
            <Ends frame={frame} from={row} to={first} />
            <Slider label="t" value={at.t} low={-0.5} high={1.5} onMove={(t) => move({ ...at, t })} />
            <div class="controls">
              <label class="check"><input type="checkbox" checked={curved} disabled={!way} onChange={() => setCurved(!curved)} />along the geodesic</label>
              <button disabled={busy !== ""} onClick={() => { setBusy("the geodesic is found"); line.now<Way>({ do: "way", run: frame.run, unit, to: frame.unit(first) }, (found) => { setWay(found); setCurved(true); }); }}>Find the geodesic</button>
              {way && <small>length {shown(way.length, way.stderr)} RMS, straight line {shown(way.straight)}, {way.status}</small>}
            </div>
          </fieldset>
        )}
        {mode === "plane" && (
          <fieldset>
            <legend>Plane through this sample, <Sample context={context} value={first} label="second sample" onChange={(next) => context.more("first", String(next))} /> and <Sample context={context} value={second} label="third sample" onChange={(next) => context.more("second", String(next))} /></legend>
            <Pad context={context} corners={[row, first, second]} at={at} move={move} />
            <Slider label="to the second" value={at.s} low={-0.5} high={1.5} onMove={(s) => move({ ...at, s })} />
            <Slider label="to the third" value={at.u} low={-0.5} high={1.5} onMove={(u) => move({ ...at, u })} />
          </fieldset>
        )}
        <button onClick={() => move(HOME)}>Back to the sample</button>
        <dl class="numbers" data-measured={measured !== null}>
          {numbers?.map((told) => (
            <div key={told.label} title={told.message}>
              <dt>{told.label} <small>{told.unit}</small></dt>
              <dd><span class="value">{told.value === null ? "–" : shown(told.value, told.stderr)}{told.status !== "ok" && <b class="flag">{told.status}</b>}</span></dd>
            </div>
          )) ?? <p class="note">Numbers come when you stop: this model is too slow for them on the way.</p>}
        </dl>
        <p class="note">{measured ? `With their errors, from ${count(Math.max(0, ...(numbers ?? []).map((told) => told.passes)))} passes${measured.spent ? ` in ${measured.spent.toPrecision(2)} s` : ""}.` : numbers ? "A sketch while you move; errors narrow when you stop." : ""}</p>
        {note && <p class="note"><b class="flag">another model</b> {note}</p>}
        {error && <p class="warning">{error}</p>}
      </div>
    </div>
  );
}

function brief(value: number): string {
  return shown(Number(value.toPrecision(3)));
}

/** One request at a time; while one is answered only the latest turn waits. */
function useLine(setError: (text: string) => void, setBusy: (text: string) => void) {
  const state = useRef({ running: false, waiting: null as null | (() => void), queue: [] as (() => void)[], still: true });
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
  const send = <T extends { error?: string; superseded?: boolean }>(request: object, then: (answer: T) => void) => async () => {
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

function Waiting({ what }: { what: string }) {
  const [seconds, setSeconds] = useState(0);
  useEffect(() => {
    const began = Date.now();
    const timer = setInterval(() => setSeconds(Math.round((Date.now() - began) / 1000)), 500);
    return () => clearInterval(timer);
  }, [what]);
  return <span class="waiting">{what} …{seconds > 1 ? ` ${seconds} s` : ""}</span>;
}

function Shot({ title, src, big, flag }: { title: string; src: string | null | undefined; big?: boolean; flag?: string }) {
  return (
    <figure class={big ? "shot big" : "shot"}>
      {src ? <img src={src} alt={title} /> : <span class="frame"><small>–</small></span>}
      <figcaption>{title}{flag && flag !== "ok" && <b class="flag">{flag}</b>}</figcaption>
    </figure>
  );
}

function Slider({ label, value, low, high, onMove, after }: { label: string; value: number; low: number; high: number; onMove(value: number): void; after?: string }) {
  return (
    <label class="slider"><span>{label}</span>
      <input type="range" min={low} max={high} step={0.01} value={value} aria-label={label} onInput={(event) => onMove(Number(event.currentTarget.value))} />
      <output>{value.toFixed(2).replace("-", "−")}</output>{after && <small>{after}</small>}
    </label>
  );
}

function Directions({ chosen, at, move, dense }: { chosen: Chosen; at: At; move(at: At): void; dense(): void }) {
  const set = (name: "leading" | "trailing", n: number, value: number) => move({ ...at, [name]: at[name].map((old, k) => (k === n ? value : old)) });
  const sigma = (name: "leading" | "trailing", n: number) => `σ ${shown(chosen.sigma[name]?.[n] ?? NaN, name === "leading" ? chosen.errors?.[n] : null)}`;
  return (
    <>
      <fieldset>
        <legend>Leading directions: the output changes most</legend>
        {chosen.sigma.leading.map((_, n) => <Slider key={n} label={`v${n + 1}`} value={at.leading[n] ?? 0} low={-1} high={1} after={sigma("leading", n)} onMove={(value) => set("leading", n, value)} />)}
      </fieldset>
      <fieldset>
        <legend>Trailing directions: it hardly notices</legend>
        {chosen.sigma.trailing?.map((_, n) => <Slider key={n} label={`v${Math.min(chosen.dimension, chosen.outputs) - n}`} value={at.trailing[n] ?? 0} low={-1} high={1} after={sigma("trailing", n)} onMove={(value) => set("trailing", n, value)} />)}
        {!chosen.sigma.trailing && (
          <p class="note">They need the whole Jacobian: {count(chosen.dimension)} passes, about {shown(Number((chosen.denseSeconds ?? 0).toPrecision(2)))} s at this model's rate.
            <button onClick={dense}>Take it</button></p>
        )}
      </fieldset>
      <p class="note">A slider at its end moves the latent by half of its own length, along one unit vector.</p>
    </>
  );
}

function Ends({ frame, from, to }: { frame: Context["frame"]; from: number; to: number }) {
  return <div class="ends"><Thumbnail frame={frame} row={from} size={44} /><span>0 … 1</span><Thumbnail frame={frame} row={to} size={44} /></div>;
}

/** The plane `z0 + s (z1 - z0) + t (z2 - z0)` as a square that one drags in. */
function Pad({ context, corners, at, move }: { context: Context; corners: [number, number, number]; at: At; move(at: At): void }) {
  const [low, span] = [-0.5, 2];
  const pad = useRef<HTMLDivElement>(null);
  const drag = (event: PointerEvent) => {
    if (!(event.buttons & 1) || !pad.current) return;
    const box = pad.current.getBoundingClientRect();
    const clamp = (v: number) => Math.min(1.5, Math.max(-0.5, v));
    move({ ...at, s: clamp(low + (span * (event.clientX - box.left)) / box.width), u: clamp(low + span * (1 - (event.clientY - box.top) / box.height)) });
  };
  const place = (s: number, t: number) => ({ left: `${(100 * (s - low)) / span}%`, top: `${100 * (1 - (t - low) / span)}%` });
  return (
    <div class="pad" ref={pad} onPointerDown={(event) => { pad.current?.setPointerCapture(event.pointerId); drag(event); }} onPointerMove={drag} aria-hidden="true">
      {([[0, 0], [1, 0], [0, 1]] as const).map(([s, t], n) => <span key={n} class="corner" style={place(s, t)}><Thumbnail frame={context.frame} row={corners[n] as number} size={36} /></span>)}
      <i class="here" style={place(at.s, at.u)} />
    </div>
  );
}
