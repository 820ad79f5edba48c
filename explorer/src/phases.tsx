// Phase maps: a field over two parameters, its ridges, regions and geodesics.
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { Axes, scaleOf } from "./axes";
import type { Context } from "./context";
import { shown, tick } from "./format";
import { useLoaded, useSize } from "./hooks";
import { along, css, rgb, series } from "./palette";
import { Controls, Empty, Loading, Picture, picturesOf } from "./parts";
import { floats, json } from "./source";

interface CurveLine {
  kind: string;
  status: string;
  points: [number, number][];
  length: [number | null, number | null];
  gap: [number | null, number | null];
}

interface Level {
  unit: string;
  shape: [number, number];
  low: [number, number];
  high: [number, number];
  points: string;
  fields: Record<string, { value: string; stderr: string; status: string[] }>;
  regions: number[];
  ridges: boolean[];
  curves: CurveLine[];
}

interface PhaseData {
  parameters: [string, string];
  name: string;
  levels: Level[];
}

const FIELDS: Record<string, string> = {
  log_determinant: "log det g",
  potential: "log Z, less its best affine function",
  error: "standard error of log det g",
  regions: "regions",
};

export function Phases({ context }: { context: Context }) {
  const { frame, view } = context;
  const { value, error } = useLoaded(() => json<PhaseData>(`runs/${frame.run}/phases.json`), [frame]);
  if (error) return <Empty>{error}</Empty>;
  if (!value?.levels.length)
    return value ? <Empty>No level is finished yet.</Empty> : <Loading what="The map is read" />;
  const n = Math.min(Number(view.more.level ?? 0) || 0, value.levels.length - 1);
  const field = FIELDS[view.more.field ?? ""] ? (view.more.field as string) : "log_determinant";
  const level = value.levels[n] as Level;
  return (
    <div class="view">
      <Controls>
        <label>
          Field
          <select value={field} onChange={(event) => context.more("field", event.currentTarget.value)}>
            {Object.entries(FIELDS).map(([name, label]) => (
              <option key={name} value={name}>
                {label}
              </option>
            ))}
          </select>
        </label>
        {value.levels.length > 1 && (
          <label>
            Level
            <select value={String(n)} onChange={(event) => context.more("level", event.currentTarget.value)}>
              {value.levels.map((_, k) => (
                <option key={k} value={String(k)}>
                  {k === 0 ? "whole box" : `zoom ${k}`}
                </option>
              ))}
            </select>
          </label>
        )}
        <small class="hint">
          Dots: ridges. Lines: geodesics, their straight lines dotted. Wheel and drag move the map.
        </small>
      </Controls>
      <PhaseMap key={`${n}`} data={value} level={level} field={field} theme={context.theme} />
      <div class="strips scroll short">
        {level.curves.map((curve, k) => {
          const name = `curve-${k}`;
          return (
            picturesOf(frame, level.unit).includes(name) && (
              <figure class="strip" key={name}>
                <Picture frame={frame} unit={level.unit} name={name} alt={`samples along geodesic ${k}`} />
                <figcaption>
                  {curve.kind}: length {numbers(curve.length)}, gap {numbers(curve.gap)}
                  {curve.status !== "ok" && <b class="flag">{curve.status}</b>}
                </figcaption>
              </figure>
            )
          );
        })}
      </div>
    </div>
  );
}

function numbers([value, error]: [number | null, number | null]): string {
  return value === null ? "–" : shown(value, error);
}

function PhaseMap({ data, level, field, theme }: { data: PhaseData; level: Level; field: string; theme: string }) {
  const [holder, size] = useSize<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const whole = useMemo(() => ({ x0: level.low[0], x1: level.high[0], y0: level.low[1], y1: level.high[1] }), [level]);
  const [box, setBox] = useState(whole);
  const [hover, setHover] = useState<number | null>(null);
  const drag = useRef<{ x: number; y: number; box: typeof box } | null>(null);
  const points = useMemo(() => floats(level.points), [level]);
  const values = useMemo(() => valuesOf(level, field), [level, field]);
  const ends = useMemo(() => spread(values), [values]);
  const p = { left: 62, right: 14, top: 10, bottom: 42 };
  const [w, h] = [Math.max(10, size.width - p.left - p.right), Math.max(10, size.height - p.top - p.bottom)];
  const px = (x: number) => p.left + ((x - box.x0) / (box.x1 - box.x0)) * w;
  const py = (y: number) => p.top + (1 - (y - box.y0) / (box.y1 - box.y0)) * h;
  const cell = [
    (level.high[0] - level.low[0]) / level.shape[0],
    (level.high[1] - level.low[1]) / level.shape[1],
  ] as const;

  useLayoutEffect(() => {
    const element = canvas.current;
    const context = element?.getContext("2d");
    if (!element || !context || !size.width) return;
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    element.width = Math.round(w * ratio);
    element.height = Math.round(h * ratio);
    context.scale(ratio, ratio);
    values.forEach((value, n) => {
      if (Number.isNaN(value)) return;
      const [x, y] = [points[2 * n] as number, points[2 * n + 1] as number];
      const at = ends[1] > ends[0] ? (value - ends[0]) / (ends[1] - ends[0]) : 0.5;
      context.fillStyle = css(field === "regions" ? (value < 0 ? [139, 149, 164] : rgb(series(value))) : along(at));
      const [left, top] = [px(x - cell[0] / 2) - p.left, py(y + cell[1] / 2) - p.top];
      context.fillRect(left, top, px(x + cell[0] / 2) - p.left - left + 0.6, py(y - cell[1] / 2) - p.top - top + 0.6);
    });
  }, [values, box, w, h, size.width, theme]);

  const place = (event: MouseEvent): [number, number] => {
    const frame = canvas.current?.getBoundingClientRect();
    return [event.clientX - (frame?.left ?? 0), event.clientY - (frame?.top ?? 0)];
  };
  const move = (event: PointerEvent) => {
    const [mx, my] = place(event);
    const start = drag.current;
    if (start) {
      const [dx, dy] = [
        ((mx - start.x) / w) * (start.box.x1 - start.box.x0),
        ((my - start.y) / h) * (start.box.y1 - start.box.y0),
      ];
      setBox({ x0: start.box.x0 - dx, x1: start.box.x1 - dx, y0: start.box.y0 + dy, y1: start.box.y1 + dy });
      return;
    }
    const [x, y] = [box.x0 + (mx / w) * (box.x1 - box.x0), box.y1 - (my / h) * (box.y1 - box.y0)];
    let [best, least] = [null as number | null, 1];
    for (let n = 0; n < values.length; n++) {
      const d = Math.max(
        Math.abs((points[2 * n] as number) - x) / cell[0],
        Math.abs((points[2 * n + 1] as number) - y) / cell[1],
      );
      if (d < least) [best, least] = [n, d];
    }
    setHover(best);
  };
  useEffect(() => {
    const element = canvas.current;
    const wheel = (event: WheelEvent) => {
      event.preventDefault();
      const [mx, my] = place(event);
      const f = Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.004);
      const [cx, cy] = [box.x0 + (mx / w) * (box.x1 - box.x0), box.y1 - (my / h) * (box.y1 - box.y0)];
      setBox({
        x0: cx + (box.x0 - cx) * f,
        x1: cx + (box.x1 - cx) * f,
        y0: cy + (box.y0 - cy) * f,
        y1: cy + (box.y1 - cy) * f,
      });
    };
    element?.addEventListener("wheel", wheel, { passive: false });
    return () => element?.removeEventListener("wheel", wheel);
  });
  const flat = scaleOf(false);
  const line = (curve: [number, number][]) => curve.map(([x, y]) => `${px(x)},${py(y)}`).join(" ");
  const stops = Array.from({ length: 9 }, (_, n) => css(along(n / 8))).join(", ");
  return (
    <>
      <div class="plot" ref={holder}>
        <svg width={size.width} height={size.height}>
          <Axes
            width={size.width}
            height={size.height}
            padding={p}
            x={{ low: box.x0, high: box.x1, scale: flat, label: data.parameters[0] }}
            y={{ low: box.y0, high: box.y1, scale: flat, label: data.parameters[1] }}
          />
        </svg>
        <canvas
          ref={canvas}
          style={{ left: p.left, top: p.top, width: w, height: h }}
          aria-label={`${FIELDS[field]} over ${data.parameters.join(" and ")}`}
          role="img"
          onPointerDown={(event) => {
            const [x, y] = place(event);
            drag.current = { x, y, box };
            canvas.current?.setPointerCapture(event.pointerId);
          }}
          onPointerMove={move}
          onPointerUp={() => {
            drag.current = null;
          }}
          onPointerLeave={() => setHover(null)}
          onDblClick={() => setBox(whole)}
        />
        <svg class="over" width={size.width} height={size.height}>
          <clipPath id="inside">
            <rect x={p.left} y={p.top} width={w} height={h} />
          </clipPath>
          <g clip-path="url(#inside)">
            {level.ridges.map(
              (is, n) =>
                is && (
                  <circle
                    key={n}
                    class="ridge"
                    cx={px(points[2 * n] as number)}
                    cy={py(points[2 * n + 1] as number)}
                    r="2.6"
                  />
                ),
            )}
            {level.curves.map((curve, n) => (
              <g key={n} class={`geodesic ${curve.status === "ok" ? "" : "doubtful"}`}>
                <polyline
                  class="straight"
                  points={line([curve.points[0] as [number, number], curve.points.at(-1) as [number, number]])}
                />
                <polyline class="halo" points={line(curve.points)} />
                <polyline class={curve.kind === "requested" ? "dashed" : ""} points={line(curve.points)} />
              </g>
            ))}
          </g>
        </svg>
        {hover !== null && <Reading data={data} level={level} n={hover} points={points} />}
      </div>
      {field !== "regions" && (
        <div class="legend">
          <span>{FIELDS[field]}</span>
          <span class="number">{tick(Number(ends[0].toPrecision(3)))}</span>
          <i class="scale" style={{ background: `linear-gradient(90deg, ${stops})` }} />
          <span class="number">{tick(Number(ends[1].toPrecision(3)))}</span>
          <small>over all but a hundredth of the cells at either end</small>
        </div>
      )}
    </>
  );
}

function Reading({ data, level, n, points }: { data: PhaseData; level: Level; n: number; points: Float32Array }) {
  const metric = level.fields.log_determinant;
  const [value, error] = useMemo(() => [floats(metric?.value ?? ""), floats(metric?.stderr ?? "")], [level]);
  return (
    <div class="reading">
      <b>{data.parameters.map((name, axis) => `${name} ${shown(points[2 * n + axis] as number)}`).join(", ")}</b>
      <span>
        log det g <em>{Number.isNaN(value[n]) ? metric?.status[n] : shown(value[n] as number, error[n])}</em>
      </span>
      {metric?.status[n] !== "ok" && (
        <span>
          <b class="flag">{metric?.status[n]}</b>
        </span>
      )}
      <span>
        region <em>{(level.regions[n] as number) < 0 ? "none" : level.regions[n]}</em>
      </span>
    </div>
  );
}

function valuesOf(
  level: Level,
  field: string,
): ArrayLike<number> & Iterable<number> & { forEach(f: (v: number, n: number) => void): void } {
  if (field === "regions") return level.regions;
  const of = level.fields[field === "error" ? "log_determinant" : field];
  return floats((field === "error" ? of?.stderr : of?.value) ?? "");
}

/** The ends of the colour scale: all but a hundredth of the values at either end. */
function spread(values: Iterable<number>): [number, number] {
  const sorted = [...values].filter(Number.isFinite).sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.round(share * (sorted.length - 1))] ?? 0;
  return [at(0.01), at(0.99)];
}
