// Curves with bands: of a ranking over noise, of anything over a coordinate.
import { useMemo, useState } from "preact/hooks";
import type { Context } from "./context";
import { useLoaded } from "./hooks";
import { Lines, Stroke } from "./lines";
import type { Line, Point } from "./lines";
import { DASHES, series as tone } from "./palette";
import { Controls, Empty, Loading } from "./parts";
import { json } from "./source";

interface CurveData {
  quantity: string;
  label: string;
  unit: string;
  meaning: string;
  x: string;
  log: boolean;
  series: { label: string; points: Point[] }[];
  left: number;
}

const GREEK: Record<string, string> = { tau: "τ", sigma: "σ", rho: "ρ" };

export function Curves({ context }: { context: Context }) {
  const { frame, view } = context;
  const { value, error } = useLoaded(() => json<{ curves: CurveData[] }>(`runs/${frame.run}/curves.json`), [frame]);
  const [pointed, setPointed] = useState<string | null>(null);
  const curves = value?.curves ?? [];
  const axes = [...new Set(curves.map((curve) => curve.x))];
  const axis = axes.includes(view.more.axis ?? "") ? (view.more.axis as string) : (axes[0] ?? "");
  const labels = [
    ...new Set(curves.filter((curve) => curve.x === axis).flatMap((curve) => curve.series.map((entry) => entry.label))),
  ];
  const styles = useMemo(() => stylesOf(labels), [labels.join("|"), context.theme]);
  const hidden = new Set((view.more.hidden ?? "").split("|").filter(Boolean));
  const lit = pointed ?? view.more.lit ?? "";
  if (error) return <Empty>{error}</Empty>;
  if (!value) return <Loading what="Curves are read" />;
  const parts = [...styles.heads, ...styles.tails];
  const flip = (name: string) =>
    context.more(
      "hidden",
      parts
        .map((part) => part.name)
        .filter((own) => (own === name) !== hidden.has(own))
        .join("|"),
    );
  return (
    <div class="view">
      {axes.length > 1 && (
        <Controls>
          <label>
            Over
            <select value={axis} onChange={(event) => context.more("axis", event.currentTarget.value)}>
              {axes.map((name) => (
                <option key={name} value={name}>
                  {GREEK[name] ?? name}
                </option>
              ))}
            </select>
          </label>
          <small class="hint">Bands: 95 % intervals. Point at a line to light it, click to leave it lit.</small>
        </Controls>
      )}
      {labels.length > 1 && (
        <div class="legend" role="group" aria-label="lines that are shown">
          {parts.map((part) => (
            <button
              key={part.name}
              class={`chip ${hidden.has(part.name) ? "" : "on"}`}
              aria-pressed={!hidden.has(part.name)}
              onClick={() => flip(part.name)}
              onMouseEnter={() => setPointed(part.name)}
              onMouseLeave={() => setPointed(null)}
              onFocus={() => setPointed(part.name)}
              onBlur={() => setPointed(null)}
            >
              <Stroke line={part} />
              {part.text}
            </button>
          ))}
          {view.more.lit && (
            <button class="chip on" title="light nothing" onClick={() => context.more("lit", "")}>
              lit: {view.more.lit} <b>×</b>
            </button>
          )}
        </div>
      )}
      <div class="scroll multiples">
        {curves
          .filter((curve) => curve.x === axis)
          .map((curve) => (
            <CurveFigure
              key={curve.quantity}
              curve={curve}
              hidden={hidden}
              styles={styles}
              single={labels.length < 2}
              lit={lit}
              onLit={setPointed}
              onPin={(label) => context.more("lit", view.more.lit === label ? "" : label)}
            />
          ))}
      </div>
    </div>
  );
}

/** Of a label what comes first (a model, a route), and the rest (a denoiser). */
function split(label: string): [string, string] {
  const [head = "", ...rest] = label.split(", ");
  return [head, rest.length ? `${TAIL}${rest.join(", ")}` : ""];
}

const TAIL = ", ";
const NEUTRAL = "#8b95a4";

interface Part {
  /** In the address; of the rest of a label it begins with `TAIL`, since a model may have the same name. */
  name: string;
  text: string;
  colour: string;
  dash?: string;
}

interface Styles {
  heads: Part[];
  tails: Part[];
  of(label: string): { colour: string; dash?: string };
}

/** A colour for what comes first in a label, a dash for the rest: a legend of the sum of both, not of their product. */
function stylesOf(labels: string[]): Styles {
  const pairs = labels.map(split);
  const heads = [...new Set(pairs.map(([head]) => head))].map((name, n) => ({ name, text: name, colour: tone(n) }));
  const rests = [...new Set(pairs.map(([, tail]) => tail))];
  const dash = (tail: string) => DASHES[rests.indexOf(tail) % DASHES.length] as string;
  const tails = rests
    .filter((tail) => tail && rests.length > 1)
    .map((tail) => ({ name: tail, text: tail.slice(TAIL.length), colour: NEUTRAL, dash: dash(tail) }));
  return {
    heads,
    tails,
    of(label) {
      const [head, tail] = split(label);
      return { colour: heads.find((part) => part.name === head)?.colour ?? tone(0), dash: dash(tail) };
    },
  };
}

/** Whether a line is what is lit: itself, or one that shares the part of its label. */
function isLit(lit: string, label: string): boolean {
  return lit === label || split(label).includes(lit);
}

function CurveFigure({
  curve,
  hidden,
  styles,
  single,
  lit,
  onLit,
  onPin,
}: {
  curve: CurveData;
  hidden: Set<string>;
  styles: Styles;
  single: boolean;
  lit: string;
  onLit(label: string | null): void;
  onPin(label: string): void;
}) {
  const lines = useMemo(
    () =>
      curve.series
        .filter((entry) => !split(entry.label).some((part) => hidden.has(part)))
        .map(
          (entry): Line => ({
            label: single ? curve.label : entry.label,
            points: entry.points,
            ...styles.of(entry.label),
          }),
        ),
    [curve, [...hidden].join("|"), styles],
  );
  return (
    <figure class="card">
      <figcaption title={curve.meaning}>
        <b>{curve.label}</b>
        {curve.unit && <small> {curve.unit}</small>}
      </figcaption>
      <Lines
        lines={lines}
        log={curve.log}
        across={`${GREEK[curve.x] ?? curve.x}${curve.log ? ", log" : ""}`}
        up=""
        height={230}
        label={`${curve.label} over ${curve.x}`}
        lit={lit && lines.some((line) => isLit(lit, line.label)) ? (line) => isLit(lit, line.label) : null}
        onLit={(line) => onLit(line && !single ? line.label : null)}
        onPin={(line) => onPin(line.label)}
      />
      {curve.left > 0 && <p class="note">{curve.left} more curves are not drawn.</p>}
    </figure>
  );
}
