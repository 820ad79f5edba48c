// A figure of curves with bands, and what one reads off where one points.
import { useMemo, useState } from "preact/hooks";
import { Axes, scaleOf } from "./axes";
import { shown, tick } from "./format";
import { useSize } from "./hooks";
import { Empty } from "./parts";

/** x, value, low, high, whether it is a number. */
export type Point = [number, number | null, number | null, number | null, number];

export interface Line {
  label: string;
  points: Point[];
  colour: string;
  dash?: string;
  width?: number;
  opacity?: number;
  band?: boolean;
}

/** How faint the other lines become while one is lit. */
const UNLIT = 0.22;

export function Lines({
  lines,
  log,
  across,
  up,
  height,
  least,
  label,
  lit = null,
  onLit,
  onPin,
}: {
  lines: Line[];
  log: boolean;
  across: string;
  up: string;
  height: number;
  least?: number;
  label: string;
  /** What is lit: the others are faint. */
  lit?: ((line: Line) => boolean) | null;
  /** Told the line that the pointer is nearest to, and null when it leaves. */
  onLit?(line: Line | null): void;
  onPin?(line: Line): void;
}) {
  const [holder, { width }] = useSize<HTMLDivElement>();
  const [at, setAt] = useState<number | null>(null);
  const [place, setPlace] = useState<Record<string, number>>({});
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
  const read = (u: number | null) =>
    u === null
      ? []
      : lines.filter((line) => line.band !== false).map((line) => ({ line, point: nearest(good(line), u, scale.to) }));
  const moved = (event: PointerEvent) => {
    const box = (event.currentTarget as Element).getBoundingClientRect();
    const u = x0 + ((event.clientX - box.left - p.left) / w) * (x1 - x0);
    const inside = u >= x0 && u <= x1 ? u : null;
    setAt(inside);
    setPlace(beside(box));
    const high = event.clientY - box.top;
    const apart = read(inside).flatMap(({ line, point }) =>
      point ? [{ line, far: Math.abs(py(point[1] as number) - high) }] : [],
    );
    onLit?.(apart.length ? apart.reduce((a, b) => (b.far < a.far ? b : a)).line : null);
  };
  const left = () => {
    setAt(null);
    onLit?.(null);
  };
  const near = read(at);
  const there = near.find(({ point }) => point)?.point;
  return (
    <div class="lines" ref={holder}>
      <svg
        width={width}
        height={height}
        role="img"
        aria-label={label}
        onPointerMove={moved}
        onPointerLeave={left}
        onClick={() => {
          const line = lit && near.find((entry) => lit(entry.line))?.line;
          if (line) onPin?.(line);
        }}
      >
        <Axes
          width={width}
          height={height}
          padding={p}
          x={{ low: x0, high: x1, scale, label: across }}
          y={{ low: y0, high: y1, scale: rise, label: up }}
        />
        {(lit ? [...lines].sort((a, b) => Number(lit(a)) - Number(lit(b))) : lines).map((line, n) => {
          const points = good(line);
          const banded = points.filter((point) => point[2] !== null && point[3] !== null);
          const edge = [
            ...banded.map((q) => [px(q[0]), py(q[3] as number)]),
            ...banded.reverse().map((q) => [px(q[0]), py(q[2] as number)]),
          ];
          const isLit = lit?.(line);
          return (
            <g key={n} style={{ opacity: isLit === false ? UNLIT : (line.opacity ?? 1) }}>
              {line.band !== false && edge.length > 2 && (
                <polygon
                  points={edge.map((e) => e.join(",")).join(" ")}
                  fill={line.colour}
                  opacity={isLit ? 0.3 : 0.16}
                />
              )}
              <polyline
                points={points.map((q) => `${px(q[0])},${py(q[1] as number)}`).join(" ")}
                fill="none"
                stroke={line.colour}
                stroke-width={(line.width ?? 2) + (isLit ? 1 : 0)}
                stroke-dasharray={line.dash}
                stroke-linejoin="round"
              />
            </g>
          );
        })}
        {there && <line class="cursor" x1={px(there[0])} x2={px(there[0])} y1={p.top} y2={p.top + h} />}
        {near.map(
          ({ line, point }, n) =>
            point && <circle key={n} cx={px(point[0])} cy={py(point[1] as number)} r={3.5} fill={line.colour} />,
        )}
      </svg>
      {there && (
        <div class="reading" style={place}>
          <b>{tick(Number(there[0].toPrecision(3)))}</b>
          {near.slice(0, MOST_READ).map(
            ({ line, point }, n) =>
              point && (
                <span key={n} class={lit?.(line) ? "lit" : ""}>
                  <Stroke line={line} />
                  {line.label || up} <em>{shown(point[1] as number, half(point))}</em>
                </span>
              ),
          )}
        </div>
      )}
    </div>
  );
}

/** A piece of a line, for legends. */
export function Stroke({ line }: { line: Pick<Line, "colour" | "dash"> }) {
  return (
    <svg width="22" height="8" aria-hidden="true">
      <line
        x1="0"
        x2="22"
        y1="4"
        y2="4"
        stroke={line.colour}
        stroke-width="2.5"
        {...(line.dash ? { "stroke-dasharray": line.dash } : {})}
      />
    </svg>
  );
}

const MOST_READ = 12;

/** Where numbers are read off, beside a figure so that they cover none of its lines; below one as wide as the page. */
function beside(box: DOMRect): Record<string, number> {
  const room = 300;
  if (innerWidth - box.right > room) return { left: box.right + 8, top: box.top };
  if (box.left > room) return { right: innerWidth - box.left + 8, top: box.top };
  return box.bottom + room / 2 < innerHeight
    ? { left: box.left, top: box.bottom + 4 }
    : { left: box.left, bottom: innerHeight - box.top + 4 };
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
