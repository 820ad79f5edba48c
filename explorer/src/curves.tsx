// Curves with bands: of a ranking over noise, of anything over a coordinate.
import { useMemo } from "preact/hooks";
import type { Context } from "./context";
import { useLoaded } from "./hooks";
import { Lines } from "./lines";
import type { Line, Point } from "./lines";
import { DASHES, series as tone } from "./palette";
import { Empty, Loading } from "./parts";
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
  const curves = value?.curves ?? [];
  const axes = [...new Set(curves.map((curve) => curve.x))];
  const axis = axes.includes(view.more.axis ?? "") ? (view.more.axis as string) : (axes[0] ?? "");
  const labels = [
    ...new Set(curves.filter((curve) => curve.x === axis).flatMap((curve) => curve.series.map((entry) => entry.label))),
  ];
  const hidden = new Set((view.more.hidden ?? "").split("|").filter(Boolean));
  const colours = useMemo(() => coloured(labels), [labels.join("|"), context.theme]);
  if (error) return <Empty>{error}</Empty>;
  if (!value) return <Loading what="Curves are read" />;
  const flip = (label: string) =>
    context.more("hidden", [...labels.filter((own) => (own === label) !== hidden.has(own))].join("|"));
  return (
    <div class="view">
      <div class="controls">
        {axes.length > 1 && (
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
        )}
        {labels.length > 1 &&
          labels.map((label) => (
            <button
              key={label}
              class={`chip ${hidden.has(label) ? "" : "on"}`}
              aria-pressed={!hidden.has(label)}
              onClick={() => flip(label)}
            >
              <svg width="22" height="8">
                <line
                  x1="0"
                  x2="22"
                  y1="4"
                  y2="4"
                  stroke={colours.get(label)?.colour}
                  stroke-width="2.5"
                  stroke-dasharray={colours.get(label)?.dash}
                />
              </svg>
              {label}
            </button>
          ))}
        <small class="hint">Bands: 95 % intervals.</small>
      </div>
      <div class="scroll multiples">
        {curves
          .filter((curve) => curve.x === axis)
          .map((curve) => (
            <CurveFigure
              key={curve.quantity}
              curve={curve}
              hidden={hidden}
              colours={colours}
              single={labels.length < 2}
            />
          ))}
      </div>
    </div>
  );
}

/** A colour for what comes first in a label (a model, a route), a dash for the rest (a denoiser). */
function coloured(labels: string[]): Map<string, { colour: string; dash: string }> {
  const heads = [...new Set(labels.map((label) => label.split(", ")[0] ?? ""))];
  const tails = [...new Set(labels.map((label) => label.split(", ").slice(1).join(", ")))];
  return new Map(
    labels.map((label) => {
      const [head, ...rest] = label.split(", ");
      return [
        label,
        {
          colour: tone(heads.indexOf(head ?? "")),
          dash: DASHES[tails.indexOf(rest.join(", ")) % DASHES.length] as string,
        },
      ];
    }),
  );
}

function CurveFigure({
  curve,
  hidden,
  colours,
  single,
}: {
  curve: CurveData;
  hidden: Set<string>;
  colours: Map<string, { colour: string; dash: string }>;
  single: boolean;
}) {
  const lines = useMemo(
    () =>
      curve.series
        .filter((entry) => !hidden.has(entry.label))
        .map(
          (entry): Line => ({
            label: single ? curve.label : entry.label,
            points: entry.points,
            colour: colours.get(entry.label)?.colour ?? tone(0),
            dash: colours.get(entry.label)?.dash,
          }),
        ),
    [curve, [...hidden].join("|"), colours],
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
      />
      {curve.left > 0 && <p class="note">{curve.left} more curves are not drawn.</p>}
    </figure>
  );
}
