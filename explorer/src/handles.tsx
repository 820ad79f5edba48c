// The handles of the live panel: sliders, samples, and the square of a plane.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Context } from "./context";
import { count, shown } from "./format";
import type { At, Chosen } from "./live";
import { Thumbnail } from "./parts";

export function Sample({
  context,
  value,
  onChange,
  label,
}: {
  context: Context;
  value: number;
  onChange(row: number): void;
  label: string;
}) {
  const { frame, rows, selected } = context;
  const chosen = [...selected].filter((row) => row !== value);
  const listed = useMemo(() => [...new Set([value, ...chosen, ...rows.slice(0, 400)])], [value, rows, selected]);
  return (
    <select aria-label={label} value={String(value)} onChange={(event) => onChange(Number(event.currentTarget.value))}>
      {listed.map((row) => (
        <option key={row} value={String(row)}>
          {frame.title(row)}
        </option>
      ))}
    </select>
  );
}

export function Waiting({ what }: { what: string }) {
  const [seconds, setSeconds] = useState(0);
  useEffect(() => {
    const began = Date.now();
    const timer = setInterval(() => setSeconds(Math.round((Date.now() - began) / 1000)), 500);
    return () => clearInterval(timer);
  }, [what]);
  return (
    <span class="waiting">
      {what} …{seconds > 1 ? ` ${seconds} s` : ""}
    </span>
  );
}

export function Shot({
  title,
  src,
  big,
  flag,
}: {
  title: string;
  src: string | null | undefined;
  big?: boolean;
  flag?: string;
}) {
  return (
    <figure class={big ? "shot big" : "shot"}>
      {src ? (
        <img src={src} alt={title} />
      ) : (
        <span class="frame">
          <small>–</small>
        </span>
      )}
      <figcaption>
        {title}
        {flag && flag !== "ok" && <b class="flag">{flag}</b>}
      </figcaption>
    </figure>
  );
}

export function Slider({
  label,
  value,
  low,
  high,
  onMove,
  after,
}: {
  label: string;
  value: number;
  low: number;
  high: number;
  onMove(value: number): void;
  after?: string;
}) {
  return (
    <label class="slider">
      <span>{label}</span>
      <input
        type="range"
        min={low}
        max={high}
        step={0.01}
        value={value}
        aria-label={label}
        onInput={(event) => onMove(Number(event.currentTarget.value))}
      />
      <output>{value.toFixed(2).replace("-", "−")}</output>
      {after && <small>{after}</small>}
    </label>
  );
}

export function Directions({ chosen, at, move, dense }: { chosen: Chosen; at: At; move(at: At): void; dense(): void }) {
  const set = (name: "leading" | "trailing", n: number, value: number) =>
    move({ ...at, [name]: at[name].map((old, k) => (k === n ? value : old)) });
  const sigma = (name: "leading" | "trailing", n: number) =>
    `σ ${shown(chosen.sigma[name]?.[n] ?? NaN, name === "leading" ? chosen.errors?.[n] : null)}`;
  return (
    <>
      <fieldset>
        <legend>Leading directions: the output changes most</legend>
        {chosen.sigma.leading.map((_, n) => (
          <Slider
            key={n}
            label={`v${n + 1}`}
            value={at.leading[n] ?? 0}
            low={-1}
            high={1}
            after={sigma("leading", n)}
            onMove={(value) => set("leading", n, value)}
          />
        ))}
      </fieldset>
      <fieldset>
        <legend>Trailing directions: it hardly notices</legend>
        {chosen.sigma.trailing?.map((_, n) => (
          <Slider
            key={n}
            label={`v${Math.min(chosen.dimension, chosen.outputs) - n}`}
            value={at.trailing[n] ?? 0}
            low={-1}
            high={1}
            after={sigma("trailing", n)}
            onMove={(value) => set("trailing", n, value)}
          />
        ))}
        {!chosen.sigma.trailing && (
          <p class="note">
            They need the whole Jacobian: {count(chosen.dimension)} passes, about{" "}
            {shown(Number((chosen.denseSeconds ?? 0).toPrecision(2)))} s at this model's rate.
            <button onClick={dense}>Take it</button>
          </p>
        )}
      </fieldset>
      <p class="note">A slider at its end moves the latent by half of its own length, along one unit vector.</p>
    </>
  );
}

export function Ends({ frame, from, to }: { frame: Context["frame"]; from: number; to: number }) {
  return (
    <div class="ends">
      <Thumbnail frame={frame} row={from} size={44} />
      <span>0 … 1</span>
      <Thumbnail frame={frame} row={to} size={44} />
    </div>
  );
}

/** The plane `z0 + s (z1 - z0) + t (z2 - z0)` as a square that one drags in. */
export function Pad({
  context,
  corners,
  at,
  move,
}: {
  context: Context;
  corners: [number, number, number];
  at: At;
  move(at: At): void;
}) {
  const [low, span] = [-0.5, 2];
  const pad = useRef<HTMLDivElement>(null);
  const drag = (event: PointerEvent) => {
    if (!(event.buttons & 1) || !pad.current) return;
    const box = pad.current.getBoundingClientRect();
    const clamp = (v: number) => Math.min(1.5, Math.max(-0.5, v));
    move({
      ...at,
      s: clamp(low + (span * (event.clientX - box.left)) / box.width),
      u: clamp(low + span * (1 - (event.clientY - box.top) / box.height)),
    });
  };
  const place = (s: number, t: number) => ({
    left: `${(100 * (s - low)) / span}%`,
    top: `${100 * (1 - (t - low) / span)}%`,
  });
  return (
    <div
      class="pad"
      ref={pad}
      onPointerDown={(event) => {
        pad.current?.setPointerCapture(event.pointerId);
        drag(event);
      }}
      onPointerMove={drag}
      aria-hidden="true"
    >
      {(
        [
          [0, 0],
          [1, 0],
          [0, 1],
        ] as const
      ).map(([s, t], n) => (
        <span key={n} class="corner" style={place(s, t)}>
          <Thumbnail frame={context.frame} row={corners[n] as number} size={36} />
        </span>
      ))}
      <i class="here" style={place(at.s, at.u)} />
    </div>
  );
}
