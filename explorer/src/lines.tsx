// Curves with bands: of a ranking over noise, of spectra, of anything over a coordinate.
import { useMemo, useState } from "preact/hooks";
import { Axes, scaleOf } from "./axes";
import type { Context } from "./context";
import { shown, tick } from "./format";
import { useLoaded, useSize } from "./hooks";
import { DASHES, series as tone } from "./palette";
import { Empty, Loading } from "./parts";
import { floats, json } from "./source";

/** x, value, low, high, whether it is a number. */
type Point = [number, number | null, number | null, number | null, number];

export interface Line {
  label: string;
  points: Point[];
  colour: string;
  dash?: string;
  width?: number;
  opacity?: number;
  band?: boolean;
}

export function Lines({ lines, log, across, up, height, least, label }: {
  lines: Line[]; log: boolean; across: string; up: string; height: number; least?: number; label: string;
}) {
  const [holder, { width }] = useSize<HTMLDivElement>();
  const [at, setAt] = useState<number | null>(null);
  const p = { left: 58, right: 12, top: 8, bottom: 40 };
  const scale = scaleOf(log);
  const box = useMemo(() => bounds(lines, scale.to, least), [lines, log, least]);
  if (!box) return <Empty>No finite number.</Empty>;
  const { x0, x1, y0, y1 } = box;
  const rise = scaleOf(box.log);
  const [w, h] = [Math.max(10, width - p.left - p.right), height - p.top - p.bottom];
  const px = (x: number) => p.left + ((scale.to(x) - x0) / (x1 - x0)) * w;
  const py = (y: number) => {
    const u = box.log && y <= 0 ? y0 : rise.to(y);
    return p.top + (1 - (Math.min(Math.max(u, y0), y1) - y0) / (y1 - y0)) * h;
  };
  const good = (line: Line) => line.points.filter((point) => point[1] !== null && point[4]);
  const moved = (event: PointerEvent) => {
    const left = (event.currentTarget as Element).getBoundingClientRect().left;
    const u = x0 + ((event.clientX - left - p.left) / w) * (x1 - x0);
    setAt(u >= x0 && u <= x1 ? u : null);
  };
  const near = at === null ? [] : lines.filter((line) => line.band !== false).map((line) => ({ line, point: nearest(good(line), at, scale.to) }));
  const there = near.find(({ point }) => point)?.point;
  return (
    <div class="lines" ref={holder}>
      <svg width={width} height={height} role="img" aria-label={label} onPointerMove={moved} onPointerLeave={() => setAt(null)}>
        <Axes width={width} height={height} padding={p} x={{ low: x0, high: x1, scale, label: across }} y={{ low: y0, high: y1, scale: rise, label: up }} />
        {lines.map((line, n) => {
          const points = good(line);
          const banded = points.filter((point) => point[2] !== null && point[3] !== null);
          const edge = [...banded.map((q) => [px(q[0]), py(q[3] as number)]), ...banded.reverse().map((q) => [px(q[0]), py(q[2] as number)])];
          return (
            <g key={n} style={{ opacity: line.opacity ?? 1 }}>
              {line.band !== false && edge.length > 2 && <polygon points={edge.map((e) => e.join(",")).join(" ")} fill={line.colour} opacity={0.16} />}
              <polyline points={points.map((q) => `${px(q[0])},${py(q[1] as number)}`).join(" ")} fill="none" stroke={line.colour}
                stroke-width={line.width ?? 2} stroke-dasharray={line.dash} stroke-linejoin="round" />
            </g>
          );
        })}
        {there && <line class="cursor" x1={px(there[0])} x2={px(there[0])} y1={p.top} y2={p.top + h} />}
        {near.map(({ line, point }, n) => point && <circle key={n} cx={px(point[0])} cy={py(point[1] as number)} r={3.5} fill={line.colour} />)}
      </svg>
      {there && (
        <div class="reading" style={px(there[0]) > width / 2 ? { left: p.left + 8 } : { right: p.right + 8 }}>
          <b>{tick(Number(there[0].toPrecision(3)))}</b>
          {near.slice(0, 8).map(({ line, point }, n) => point && (
            <span key={n}><i class="dot" style={{ background: line.colour }} />{line.label || up} <em>{shown(point[1] as number, half(point))}</em></span>
          ))}
        </div>
      )}
    </div>
  );
}

function half(point: Point): number | null {
  return point[2] === null || point[3] === null ? null : (point[3] - point[2]) / 3.92;
}

function nearest(points: Point[], u: number, to: (x: number) => number): Point | null {
  let best: Point | null = null;
  for (const point of points) if (!best || Math.abs(to(point[0]) - u) < Math.abs(to(best[0]) - u)) best = point;
  return best;
}

/** Values that span more than this factor are drawn on a logarithmic axis: on a straight one most would lie at zero. */
const STEEP = 300;

/** What is shown: all values, and bands as far as they do not reach beyond three times the range of values. */
function bounds(lines: Line[], to: (x: number) => number, least?: number) {
  let [x0, x1, y0, y1, b0, b1] = [Infinity, -Infinity, Infinity, -Infinity, Infinity, -Infinity];
  for (const line of lines) {
    for (const [x, value, low, high, ok] of line.points) {
      const u = to(x);
      if (value === null || !ok || !Number.isFinite(u)) continue;
      [x0, x1] = [Math.min(x0, u), Math.max(x1, u)];
      [y0, y1] = [Math.min(y0, value), Math.max(y1, value)];
      [b0, b1] = [Math.min(b0, low ?? value), Math.max(b1, high ?? value)];
    }
  }
  if (!(x1 >= x0)) return null;
  const isLog = least === undefined && y0 > 0 && y1 > STEEP * y0;
  if (isLog) [y0, y1, b0, b1] = [y0, y1, Math.max(b0, y0 / 10), b1].map(Math.log10) as [number, number, number, number];
  const reach = y1 - y0 || Math.abs(y1) || 1;
  [y0, y1] = [Math.max(b0, y0 - reach), Math.min(b1, y1 + reach)];
  if (least !== undefined) y0 = least;
  const margin = (y1 - y0) * 0.04 || Math.abs(y1) * 0.04 || 0.5;
  if (x1 === x0) [x0, x1] = [x0 - 0.5, x1 + 0.5];
  return { x0, x1, y0: least === undefined ? y0 - margin : y0, y1: y1 + margin, log: isLog };
}

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
  const labels = [...new Set(curves.filter((curve) => curve.x === axis).flatMap((curve) => curve.series.map((entry) => entry.label)))];
  const hidden = new Set((view.more.hidden ?? "").split("|").filter(Boolean));
  const colours = useMemo(() => coloured(labels), [labels.join("|"), context.theme]);
  if (error) return <Empty>{error}</Empty>;
  if (!value) return <Loading what="Curves are read" />;
  const flip = (label: string) => context.more("hidden", [...labels.filter((own) => (own === label) !== hidden.has(own))].join("|"));
  return (
    <div class="view">
      <div class="controls">
        {axes.length > 1 && (
          <label>Over
            <select value={axis} onChange={(event) => context.more("axis", event.currentTarget.value)}>
              {axes.map((name) => <option key={name} value={name}>{GREEK[name] ?? name}</option>)}
            </select>
          </label>
        )}
        {labels.length > 1 && labels.map((label) => (
          <button key={label} class={`chip ${hidden.has(label) ? "" : "on"}`} aria-pressed={!hidden.has(label)} onClick={() => flip(label)}>
            <svg width="22" height="8"><line x1="0" x2="22" y1="4" y2="4" stroke={colours.get(label)?.colour} stroke-width="2.5" stroke-dasharray={colours.get(label)?.dash} /></svg>
            {label}
          </button>
        ))}
        <small class="hint">Bands: 95 % intervals.</small>
      </div>
      <div class="scroll multiples">
        {curves.filter((curve) => curve.x === axis).map((curve) => (
          <CurveFigure key={curve.quantity} curve={curve} hidden={hidden} colours={colours} single={labels.length < 2} />
        ))}
      </div>
    </div>
  );
}

/** A colour for what comes first in a label (a model, a route), a dash for the rest (a denoiser). */
function coloured(labels: string[]): Map<string, { colour: string; dash: string }> {
  const heads = [...new Set(labels.map((label) => label.split(", ")[0] ?? ""))];
  const tails = [...new Set(labels.map((label) => label.split(", ").slice(1).join(", ")))];
  return new Map(labels.map((label) => {
    const [head, ...rest] = label.split(", ");
    return [label, { colour: tone(heads.indexOf(head ?? "")), dash: DASHES[tails.indexOf(rest.join(", ")) % DASHES.length] as string }];
  }));
}

function CurveFigure({ curve, hidden, colours, single }: {
  curve: CurveData; hidden: Set<string>; colours: Map<string, { colour: string; dash: string }>; single: boolean;
}) {
  const lines = useMemo(
    () => curve.series.filter((entry) => !hidden.has(entry.label)).map((entry): Line => ({
      label: single ? curve.label : entry.label, points: entry.points, colour: colours.get(entry.label)?.colour ?? tone(0), dash: colours.get(entry.label)?.dash,
    })),
    [curve, [...hidden].join("|"), colours],
  );
  return (
    <figure class="card">
      <figcaption title={curve.meaning}><b>{curve.label}</b>{curve.unit && <small> {curve.unit}</small>}</figcaption>
      <Lines lines={lines} log={curve.log} across={`${GREEK[curve.x] ?? curve.x}${curve.log ? ", log" : ""}`} up="" height={230} label={`${curve.label} over ${curve.x}`} />
      {curve.left > 0 && <p class="note">{curve.left} more curves are not drawn.</p>}
    </figure>
  );
}

interface SpectrumData {
  of: number;
  drawn: number;
  sides: Record<string, { grid: number[]; mean: number[]; margin: number[] | null; nullShare: number; bandwidth: number; rows: number[]; curves: string }>;
}

const FAINT = 60;

export function Spectrum({ context }: { context: Context }) {
  const { frame, selected, view } = context;
  const { value, error } = useLoaded(() => json<SpectrumData>(`runs/${frame.run}/spectra.json`), [frame]);
  if (error) return <Empty>{error}</Empty>;
  if (!value) return <Loading what="Spectra are read" />;
  const sides = Object.entries(value.sides);
  if (!sides.length) return <Empty>This run holds no spectra.</Empty>;
  const chosen = [...new Set([...(view.focus === null ? [] : [view.focus]), ...selected])];
  return (
    <div class="view scroll">
      {sides.map(([side, data], n) => <SpectrumFigure key={side} side={side} data={data} chosen={chosen} context={context} n={n} height={sides.length > 1 ? 300 : 420} />)}
      <p class="note">Density of singular values of the map: to the right it stretches more. Dark: the mean over samples with its 95 % band; faint: samples;
        coloured: what is selected{chosen.length ? "" : " (nothing yet: choose samples in any view)"}.
        {value.drawn < value.of && ` Of ${value.of} samples ${value.drawn} at even steps are drawn.`}</p>
    </div>
  );
}

function SpectrumFigure({ side, data, chosen, context, n, height }: {
  side: string; data: SpectrumData["sides"][string]; chosen: number[]; context: Context; n: number; height: number;
}) {
  const curves = useMemo(() => floats(data.curves), [data]);
  const ink = context.theme === "dark" ? "#e8edf3" : "#1b2430";
  const lines = useMemo(() => {
    const size = data.grid.length;
    const of = (k: number): Point[] => data.grid.map((x, i) => [10 ** x, curves[k * size + i] as number, null, null, 1]);
    const made: Line[] = [];
    const step = Math.ceil(data.rows.length / FAINT);
    for (let k = 0; k < data.rows.length; k += step) {
      made.push({ label: "", points: of(k), colour: "#8b95a4", width: 1, opacity: 0.28, band: false });
    }
    const points = data.grid.map((x, i): Point => {
      const [mean, margin] = [data.mean[i] as number, data.margin?.[i]];
      return [10 ** x, mean, margin === undefined ? null : Math.max(0, mean - margin), margin === undefined ? null : mean + margin, 1];
    });
    made.push({ label: `mean of ${data.rows.length}`, points, colour: ink, width: 2.5 });
    chosen.slice(0, 8).forEach((row, c) => {
      const k = data.rows.indexOf(row);
      if (k >= 0) made.push({ label: context.frame.title(row), points: of(k), colour: tone(c), dash: DASHES[Math.floor(c / 4)], width: 2.5 });
    });
    return made;
  }, [data, curves, chosen.join(), ink]);
  const title = side === "spectrum" ? "" : (side.split("/")[1] ?? "");
  return (
    <figure class="card wide">
      <figcaption><b>{title ? `Spectrum of the ${title}` : "Spectrum"}</b>
        {data.nullShare > 5e-4 && <small> {(100 * data.nullShare).toFixed(1)} % of directions are null, and have no place on this axis</small>}</figcaption>
      <div class="legend">{lines.filter((line) => line.label).map((line) => (
        <span key={line.label}><svg width="22" height="8"><line x1="0" x2="22" y1="4" y2="4" stroke={line.colour} stroke-width="2.5" stroke-dasharray={line.dash} /></svg>{line.label}</span>
      ))}</div>
      <Lines lines={lines} log={true} across="singular value σ, log" up="density per decade" height={height} least={0} label={`Density of singular values ${n ? title : ""}`} />
    </figure>
  );
}
