// Any two quantities against each other, coloured by a third; and the projection of latents.
import { useMemo, useState } from "preact/hooks";
import type { Context } from "./context";
import type { Column } from "./frame";
import { tick } from "./format";
import { useColumns, useLoaded } from "./hooks";
import { css, along, series } from "./palette";
import { Plot } from "./plot";
import type { Axis } from "./plot";
import { floats, json } from "./source";
import { extent, isWide } from "./state";
import { ColumnChoice, Controls, Empty, Loading } from "./parts";

export function Scatter({ context }: { context: Context }) {
  const { frame, view, rows, go } = context;
  const x = frame.has(view.x) ? view.x : usual(context, 0);
  const y = frame.has(view.y) ? view.y : usual(context, 1);
  const [lasso, setLasso] = useState(false);
  const columns = useColumns(frame, [x, y]);
  const bar = (
    <Controls>
      <ColumnChoice label="Across" frame={frame} value={x} onChange={(name) => go({ x: name })} />
      <ColumnChoice label="Up" frame={frame} value={y} onChange={(name) => go({ y: name })} />
      <button class="quiet" title="Exchange the axes" onClick={() => go({ x: y, y: x })}>
        ⇄
      </button>
      <ColourChoice context={context} />
      <Lasso on={lasso} set={setLasso} />
    </Controls>
  );
  if (!columns)
    return (
      <div class="view">
        {bar}
        <Loading />
      </div>
    );
  const [a, b] = columns as [Column | null, Column | null];
  if (!a || !b)
    return (
      <div class="view">
        {bar}
        <Empty>This run has no two numbers to set against each other.</Empty>
      </div>
    );
  return (
    <div class="view">
      {bar}
      <Cloud context={context} x={axisOf(a, rows)} y={axisOf(b, rows)} lasso={lasso} hollowBy={[a, b]} />
    </div>
  );
}

export function Projection({ context }: { context: Context }) {
  const { frame, view } = context;
  const [lasso, setLasso] = useState(false);
  const { value, error } = useLoaded(() => json<ProjectionData>(`runs/${frame.run}/projection.json`), [frame]);
  const points = useMemo(() => (value ? floats(value.points) : null), [value]);
  const pair = view.more.axes ?? "01";
  if (error) return <Empty>{error}</Empty>;
  if (!value || !points) return <Loading what="Latents are projected" />;
  if (value.axes < 2) return <Empty>This run holds no latents of one shape: they have no projection.</Empty>;
  const axis = (n: number): Axis => ({
    label: `axis ${n + 1}, ${((value.share[n] ?? 0) * 100).toPrecision(2)} % of the variance`,
    value: Float64Array.from({ length: frame.rows }, (_, row) => points[3 * row + n] as number),
    log: false,
  });
  const pairs = value.axes > 2 ? ["01", "02", "12"] : ["01"];
  const fitted = value.fitted < frame.rows ? ` Fitted to ${value.fitted} of ${frame.rows} latents at even steps.` : "";
  return (
    <div class="view">
      <Controls>
        <label>
          Axes
          <select value={pair} onChange={(e) => context.more("axes", e.currentTarget.value)}>
            {pairs.map((p) => (
              <option key={p} value={p}>
                {Number(p[0]) + 1} and {Number(p[1]) + 1}
              </option>
            ))}
          </select>
        </label>
        <ColourChoice context={context} />
        <Lasso on={lasso} set={setLasso} />
      </Controls>
      <ProjectionCloud
        context={context}
        axis={axis}
        pair={pairs.includes(pair) ? pair : "01"}
        data={value}
        lasso={lasso}
      />
      <p class="note">
        Principal axes of the stored latents ({value.shape.join(" × ")}). Near in this picture is not near in latent
        space: the rest of the variance is left out.{fitted}
      </p>
    </div>
  );
}

interface ProjectionData {
  axes: number;
  share: number[];
  points: string;
  shape: number[];
  fitted: number;
}

function ProjectionCloud({
  context,
  axis,
  pair,
  data,
  lasso,
}: {
  context: Context;
  axis(n: number): Axis;
  pair: string;
  data: ProjectionData;
  lasso: boolean;
}) {
  const [x, y] = useMemo(() => [axis(Number(pair[0])), axis(Number(pair[1]))], [data, pair]);
  return <Cloud context={context} x={x as Axis} y={y as Axis} lasso={lasso} hollowBy={[]} />;
}

export function Cloud({
  context,
  x,
  y,
  lasso,
  hollowBy,
  diagonal,
}: {
  context: Context;
  x: Axis;
  y: Axis;
  lasso: boolean;
  hollowBy: Column[];
  diagonal?: boolean;
}) {
  const { frame, view, rows, theme } = context;
  const loaded = useColumns(frame, [view.c]);
  const column = loaded?.[0] ?? null;
  const words = view.c && !frame.has(view.c) ? frame.keys.get(view.c) : undefined;
  const classes = useMemo(() => (words ? [...new Set(words.map(String))].sort() : null), [words]);
  const ends = column && extent(column, rows);
  const wide = ends ? isWide(ends) : false;
  const colour = useMemo(() => {
    if (classes && words) return words.map((word) => classes.indexOf(String(word)));
    if (!column || !ends) return null;
    const of = (v: number) => (wide ? Math.log(v) : v);
    const [low, high] = [of(ends[0]), of(ends[1])];
    return column.value.map((v) => (high > low ? (of(v) - low) / (high - low) : Number.isNaN(v) ? NaN : 0.5));
  }, [column, classes, ends?.[0], ends?.[1]]);
  const by = column ? [...hollowBy, column] : hollowBy;
  const hollow = useMemo(
    () => (row: number) => by.some((c) => (c.status[row] as number) > 0),
    [by.map((c) => c.name).join()],
  );
  return (
    <>
      <Plot
        label={`${y.label} against ${x.label}; arrows move from point to point, + and − zoom, space selects`}
        rows={rows}
        x={x}
        y={y}
        colour={colour}
        classes={Boolean(classes)}
        hollow={hollow}
        selected={context.selected}
        focus={view.focus}
        theme={theme}
        lasso={lasso}
        diagonal={diagonal}
        onFocus={context.focus}
        onSelect={context.select}
        onHover={context.hover}
      />
      {column && ends && <ColourScale column={column} ends={ends} log={wide} theme={theme} />}
      {classes && <Classes names={classes} theme={theme} />}
      {by.length > 0 && rows.some(hollow) && <p class="note">Hollow points carry a status other than ok.</p>}
    </>
  );
}

function ColourScale({ column, ends, log }: { column: Column; ends: [number, number]; log: boolean; theme: string }) {
  const stops = Array.from({ length: 9 }, (_, n) => css(along(n / 8))).join(", ");
  return (
    <div class="legend">
      <span>
        {column.label}
        {column.unit && <small> {column.unit}</small>}
      </span>
      <span class="number">{tick(Number(ends[0].toPrecision(3)))}</span>
      <i class="scale" style={{ background: `linear-gradient(90deg, ${stops})` }} />
      <span class="number">{tick(Number(ends[1].toPrecision(3)))}</span>
      {log && <small>logarithmic</small>}
    </div>
  );
}

function Classes({ names }: { names: string[]; theme: string }) {
  return (
    <div class="legend">
      {names.slice(0, 12).map((name, n) => (
        <span key={name}>
          <i class="dot" style={{ background: series(n) }} />
          {name}
        </span>
      ))}
      {names.length > 12 && <small>and {names.length - 12} more: colours repeat</small>}
    </div>
  );
}

export function ColourChoice({ context }: { context: Context }) {
  const { frame, view, go } = context;
  return (
    <ColumnChoice
      label="Colour"
      frame={frame}
      value={view.c}
      none="none"
      words={frame.categorical}
      onChange={(c) => go({ c })}
    />
  );
}

function Lasso({ on, set }: { on: boolean; set(on: boolean): void }) {
  return (
    <button
      class={`quiet ${on ? "on" : ""}`}
      aria-pressed={on}
      title="Draw around points to select them (or hold shift)"
      onClick={() => set(!on)}
    >
      Lasso
    </button>
  );
}

export function axisOf(column: Column, rows: number[]): Axis {
  const ends = extent(column, rows);
  const log = ends ? isWide(ends) : false;
  const unit = column.unit ? ` (${column.unit})` : "";
  return {
    label: `${column.label}${unit}${log ? ", log" : ""}`,
    value: column.value,
    low: column.low,
    high: column.high,
    log,
  };
}

const FIRST = ["local_scaling_per_dimension", "local_rank", "local_scaling", "leading_singular_value", "gap", "tau"];

/** The columns that are shown first: the usual ones where the run has them, else the first that it has. */
export function usual({ frame }: Context, n: number): string {
  const varying = frame.about.frame.columns.filter((column) => column.varies).map((column) => column.name);
  const names = varying.length > 1 ? varying : frame.numeric.map((column) => column.name);
  const known = FIRST.filter((name) => names.includes(name));
  return [...known, ...names.filter((name) => !known.includes(name))][n] ?? "";
}
