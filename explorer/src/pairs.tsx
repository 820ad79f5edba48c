// Two sides as paired dots: of a comparison its quantities, of two runs the samples that both have.
import { useEffect, useMemo, useState } from "preact/hooks";
import type { Context } from "./context";
import { shown } from "./format";
import { Frame } from "./frame";
import type { Column } from "./frame";
import { useLoaded, useSize } from "./hooks";
import { series } from "./palette";
import { ColumnChoice, Controls, Empty, Loading, Thumbnail } from "./parts";
import { axisOf, Cloud, usual } from "./scatter";
import { json } from "./source";

type Interval = [number | null, number | null, number | null];

interface Pair {
  quantity: string;
  label: string;
  unit: string;
  where: string;
  first: Interval;
  second: Interval;
  difference: Interval;
  status: string;
  n: number;
}

export function Pairs({ context }: { context: Context }) {
  return context.frame.about.kind === "compare" ? <Compared context={context} /> : <Runs context={context} />;
}

function Compared({ context }: { context: Context }) {
  const { frame } = context;
  const { value, error } = useLoaded(() => json<Pair[]>(`runs/${frame.run}/pairs.json`), [frame]);
  if (error) return <Empty>{error}</Empty>;
  if (!value) return <Loading what="Differences are read" />;
  if (!value.length) return <Empty>Nothing is compared yet.</Empty>;
  const names = frame.about.models;
  return (
    <div class="view scroll">
      <div class="legend">
        <span>
          <i class="dot" style={{ background: series(0) }} />
          {names[0] ?? "first"}
        </span>
        <span>
          <i class="dot" style={{ background: series(1) }} />
          {names[1] ?? "second"}
        </span>
        <small>
          Surest difference first. Filled bar at the right: second less first, with its 95 % interval; it differs where
          that leaves out zero.
        </small>
      </div>
      {value.slice(0, 200).map((pair, n) => (
        <PairRow key={n} pair={pair} />
      ))}
    </div>
  );
}

function PairRow({ pair }: { pair: Pair }) {
  const all = [...pair.first, ...pair.second].filter((v): v is number => v !== null);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const [value, a, b] = pair.difference;
  const differs = a !== null && b !== null && (a > 0 || b < 0);
  return (
    <div class={`pair ${differs ? "differs" : ""}`}>
      <span class="what">
        {pair.label}
        {pair.unit && <small> {pair.unit}</small>}
        {pair.where && <small> {pair.where}</small>}
      </span>
      <Dots sides={[pair.first, pair.second]} low={low} high={high} />
      <span class="number">
        {value === null ? "–" : shown(value, a === null || b === null ? null : (b - a) / 3.92)}
        {pair.status !== "ok" && <b class="flag">{pair.status}</b>}
      </span>
      <Difference interval={pair.difference} />
    </div>
  );
}

/** Two values with their intervals on one line. */
function Dots({ sides, low, high }: { sides: [Interval, Interval]; low: number; high: number }) {
  const at = (v: number) => `${high > low ? 3 + (94 * (v - low)) / (high - low) : 50}%`;
  const [a, b] = [sides[0][0], sides[1][0]];
  return (
    <svg class="dots" height="22" role="img" aria-label={`first ${a ?? "none"}, second ${b ?? "none"}`}>
      <line class="base" x1="0" x2="100%" y1="11" y2="11" />
      {a !== null && b !== null && <line class="between" x1={at(a)} x2={at(b)} y1="11" y2="11" />}
      {sides.map(
        ([value, from, to], n) =>
          value !== null && (
            <g key={n} style={{ color: series(n) }}>
              {from !== null && to !== null && (
                <line
                  x1={at(from)}
                  x2={at(to)}
                  y1={n ? 15 : 7}
                  y2={n ? 15 : 7}
                  stroke="currentColor"
                  stroke-width="2"
                />
              )}
              <circle cx={at(value)} cy={n ? 15 : 7} r="4.5" fill="currentColor" />
            </g>
          ),
      )}
    </svg>
  );
}

function Difference({ interval: [value, low, high] }: { interval: Interval }) {
  if (value === null || low === null || high === null) return <span />;
  const most = Math.max(Math.abs(low), Math.abs(high)) || 1;
  const at = (v: number) => `${50 + (48 * v) / most}%`;
  return (
    <svg class="dots" height="22" role="img" aria-label={`difference ${value}`}>
      <line class="base" x1="50%" x2="50%" y1="1" y2="21" />
      <line x1={at(low)} x2={at(high)} y1="11" y2="11" stroke="currentColor" stroke-width="2" />
      <circle cx={at(value)} cy="11" r="4" fill="currentColor" />
    </svg>
  );
}

/** The samples that this run and another one have, one against the other. */
function Runs({ context }: { context: Context }) {
  const { frame, frames, view } = context;
  const others = frames.map((run, n) => ({ ...run, n })).filter(({ n }) => n !== frame.run);
  const usualOther = others.find((run) => run.kind === frame.about.kind) ?? others[0];
  const n = others.find((run) => String(run.n) === view.more.other)?.n ?? usualOther?.n ?? -1;
  const { value: other, error } = useLoaded(
    () => (n < 0 ? Promise.reject(new Error("open a second run beside this one")) : Frame.open(n)),
    [n],
  );
  const shared = other ? frame.numeric.filter(({ name }) => other.has(name)) : [];
  const quantity = shared.some(({ name }) => name === view.more.pair)
    ? (view.more.pair as string)
    : shared.some(({ name }) => name === usual(context, 0))
      ? usual(context, 0)
      : (shared[0]?.name ?? "");
  const [columns, setColumns] = useState<[Column, Column] | null>(null);
  useEffect(() => {
    setColumns(null);
    if (other && quantity) Promise.all([frame.column(quantity), other.column(quantity)]).then(setColumns);
  }, [frame, other, quantity]);
  const joined = useMemo(() => (other && columns ? join(frame, other, columns) : null), [frame, other, columns]);
  const rows = useMemo(() => (joined ? context.rows.filter((row) => joined.has(row)) : []), [joined, context.rows]);
  if (error) return <Empty>{error}</Empty>;
  if (!other) return <Loading what="The other run is read" />;
  if (!quantity) return <Empty>These runs share no quantity.</Empty>;
  const names = [frame.about.name, other.about.name];
  return (
    <div class="view">
      <Controls>
        <label>
          Beside
          <select value={String(n)} onChange={(event) => context.more("other", event.currentTarget.value)}>
            {others.map((run) => (
              <option key={run.n} value={String(run.n)}>
                {run.name}
              </option>
            ))}
          </select>
        </label>
        <ColumnChoice label="Quantity" frame={frame} value={quantity} onChange={(name) => context.more("pair", name)} />
      </Controls>
      {!columns || !joined ? (
        <Loading />
      ) : !rows.length ? (
        <Empty>The two runs have no sample with a number in common.</Empty>
      ) : (
        <div class="split">
          <div class="view">
            <Cloud
              context={{ ...context, rows }}
              x={{ ...axisOf(columns[0], rows), label: `${columns[0].label}, ${names[0]}` }}
              y={joined.axis(axisOf(columns[0], rows).log, `${columns[0].label}, ${names[1]}`)}
              lasso={false}
              hollowBy={[]}
              diagonal
            />
          </div>
          <PairList context={context} rows={rows} first={columns[0]} joined={joined} names={names} />
        </div>
      )}
    </div>
  );
}

interface Joined {
  has(row: number): boolean;
  at(row: number): Interval;
  axis(
    log: boolean,
    label: string,
  ): { label: string; value: Float64Array; low: Float64Array; high: Float64Array; log: boolean };
}

function join(frame: Frame, other: Frame, [first, second]: [Column, Column]): Joined {
  const places = new Map((other.keys.get("unit") ?? []).map((unit, n) => [unit, n]));
  const match = (frame.keys.get("unit") ?? []).map((unit) => places.get(unit) ?? -1);
  const pick = (of: Float64Array) => Float64Array.from(match, (place) => (place < 0 ? NaN : (of[place] as number)));
  const [value, low, high] = [pick(second.value), pick(second.low), pick(second.high)];
  const finite = (v: number | undefined) => (v !== undefined && Number.isFinite(v) ? v : null);
  return {
    has: (row) => Number.isFinite(value[row]) && Number.isFinite(first.value[row]),
    at: (row) => [finite(value[row]), finite(low[row]), finite(high[row])],
    axis: (log, label) => ({ label, value, low, high, log }),
  };
}

const MOST = 400;

function PairList({
  context,
  rows,
  first,
  joined,
  names,
}: {
  context: Context;
  rows: number[];
  first: Column;
  joined: Joined;
  names: string[];
}) {
  const [holder] = useSize<HTMLDivElement>();
  const { frame } = context;
  const by = [...rows].sort((a, b) => Math.abs(gap(b)) - Math.abs(gap(a)));
  function gap(row: number): number {
    return (joined.at(row)[0] ?? NaN) - (first.value[row] as number);
  }
  const ends = rows.flatMap((row) => [first.value[row] as number, joined.at(row)[0] as number]);
  const [low, high] = [
    ends.reduce((a, b) => Math.min(a, b), Infinity),
    ends.reduce((a, b) => Math.max(a, b), -Infinity),
  ];
  const up = rows.filter((row) => gap(row) > 0).length;
  return (
    <div class="scroll pairlist" ref={holder}>
      <div class="legend">
        <span>
          <i class="dot" style={{ background: series(0) }} />
          {names[0]}
        </span>
        <span>
          <i class="dot" style={{ background: series(1) }} />
          {names[1]}
        </span>
        <small>
          Larger in {names[1]} at {up} of {rows.length} samples. Largest change first
          {rows.length > MOST ? `, the first ${MOST}` : ""}.
        </small>
      </div>
      {by.slice(0, MOST).map((row) => (
        <button
          key={row}
          class={`pair small ${context.view.focus === row ? "focus" : ""}`}
          onClick={() => context.focus(row)}
        >
          <Thumbnail frame={frame} row={row} size={26} />
          <span class="what">{frame.title(row)}</span>
          <Dots
            sides={[[first.value[row] as number, first.low[row] as number, first.high[row] as number], joined.at(row)]}
            low={low}
            high={high}
          />
        </button>
      ))}
    </div>
  );
}
