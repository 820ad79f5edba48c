// A field of points that one can move in, point at and choose from.
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { Axes, scaleOf } from "./axes";
import type { Padding } from "./axes";
import { useSize } from "./hooks";
import { along, isDark, rgb, series } from "./palette";
import { painterFor } from "./points";
import type { Box, Painter } from "./points";

export interface Axis {
  label: string;
  value: ArrayLike<number>;
  low?: ArrayLike<number>;
  high?: ArrayLike<number>;
  log: boolean;
}

export interface PlotProps {
  label: string;
  rows: number[];
  x: Axis;
  y: Axis;
  /** Position in [0, 1] of every row on the colour scale, NaN for grey; or a class, where `classes` is set. */
  colour: ArrayLike<number> | null;
  classes?: boolean;
  hollow?: (row: number) => boolean;
  selected: Set<number>;
  focus: number | null;
  theme: string;
  lasso: boolean;
  diagonal?: boolean;
  onFocus(row: number | null): void;
  onSelect(rows: number[], how: "set" | "toggle" | "add"): void;
  onHover(row: number | null, x: number, y: number): void;
}

const PADDING: Padding = { left: 66, right: 14, top: 12, bottom: 44 };
const MOST_BARS = 6000;
const LEAST_FRAMES = 12;
const FLUENT = 30;
const WHOLE: Box = { x0: 0, x1: 1, y0: 0, y1: 1 };

/** Frames a second of a movement, by the median of its steps: a hand that rests is not counted. */
function rateOf(times: number[]): number {
  const steps = times
    .slice(1)
    .map((time, n) => time - (times[n] as number))
    .sort((a, b) => a - b);
  return 1000 / (steps[Math.floor(steps.length / 2)] as number);
}

/** Where everything lies: straight units from 0 to 1 over all points, which single precision holds without loss. */
function layout(rows: number[], axis: Axis) {
  const scale = scaleOf(axis.log);
  let [low, high] = [Infinity, -Infinity];
  for (const row of rows) {
    const u = scale.to(axis.value[row] as number);
    if (u < low) low = u;
    if (u > high) high = u;
  }
  if (!(low <= high)) [low, high] = [0, 1];
  const margin = (high - low) * 0.05 || Math.abs(high) * 0.05 || 0.5;
  [low, high] = [low - margin, high + margin];
  return { scale, low, high, unit: (value: number) => (scale.to(value) - low) / (high - low) };
}

export function Plot(props: PlotProps) {
  const { rows, x, y, colour, selected, focus, theme } = props;
  const [holder, { width, height }] = useSize<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const painter = useRef<Painter | null>(null);
  const [box, setBox] = useState<Box>(WHOLE);
  const [path, setPath] = useState<[number, number][]>([]);
  const drag = useRef<{ x: number; y: number; box: Box; lasso: boolean; moved: boolean } | null>(null);
  const frames = useRef<number[]>([]);
  const [rate, setRate] = useState(0);
  const p = PADDING;
  const [w, h] = [Math.max(10, width - p.left - p.right), Math.max(10, height - p.top - p.bottom)];
  const across = useMemo(() => layout(rows, x), [rows, x.value, x.log]);
  const up = useMemo(() => layout(rows, y), [rows, y.value, y.log]);
  useEffect(() => setBox(WHOLE), [across, up]);

  const cloud = useMemo(() => {
    const n = rows.length;
    const made = {
      x: Float32Array.from(rows, (row) => across.unit(x.value[row] as number)),
      y: Float32Array.from(rows, (row) => up.unit(y.value[row] as number)),
      bars: null as Float32Array | null,
      colour: new Uint8Array(4 * n),
      state: new Uint8Array(n),
    };
    const opacity = n > 4000 ? 150 : n > 800 ? 195 : 225;
    const grey: [number, number, number] = isDark() ? [120, 130, 145] : [139, 149, 164];
    const plain = rgb(series(0));
    rows.forEach((row, k) => {
      const at = colour ? (colour[row] as number) : NaN;
      const tone = !colour ? plain : Number.isNaN(at) ? grey : props.classes ? rgb(series(at)) : along(at);
      made.colour.set([...tone, opacity], 4 * k);
    });
    if (n <= MOST_BARS && (x.low || y.low)) {
      made.bars = new Float32Array(4 * n).fill(NaN);
      rows.forEach((row, k) => {
        if (x.low && x.high)
          made.bars?.set([across.unit(x.low[row] as number), across.unit(x.high[row] as number)], 4 * k);
        if (y.low && y.high) made.bars?.set([up.unit(y.low[row] as number), up.unit(y.high[row] as number)], 4 * k + 2);
      });
    }
    return made;
  }, [rows, across, up, colour, theme]);

  useLayoutEffect(() => {
    if (canvas.current && !painter.current) painter.current = painterFor(canvas.current);
    rows.forEach((row, k) => {
      cloud.state[k] = row === focus ? 3 : selected.has(row) ? 2 : props.hollow?.(row) ? 1 : 0;
      if (selected.size)
        cloud.colour[4 * k + 3] = selected.has(row) || row === focus ? 255 : rows.length > 800 ? 70 : 110;
      else cloud.colour[4 * k + 3] = rows.length > 4000 ? 150 : rows.length > 800 ? 195 : 225;
    });
    painter.current?.load(cloud);
  }, [cloud, selected, focus, props.hollow]);

  useLayoutEffect(() => {
    const element = canvas.current;
    if (!element || !width) return;
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    if (element.width !== Math.round(w * ratio) || element.height !== Math.round(h * ratio)) {
      element.width = Math.round(w * ratio);
      element.height = Math.round(h * ratio);
    }
    const size = (rows.length > 8000 ? 4 : rows.length > 1500 ? 5.5 : rows.length > 200 ? 8 : 11) * ratio;
    painter.current?.draw(box, size, isDark() ? [238, 242, 247] : [27, 36, 48]);
    if (drag.current?.moved) frames.current.push(performance.now());
  }, [cloud, selected, focus, box, w, h, width, theme]);

  const px = (u: number) => ((u - box.x0) / (box.x1 - box.x0)) * w;
  const py = (u: number) => (1 - (u - box.y0) / (box.y1 - box.y0)) * h;

  function nearest(mx: number, my: number): number | null {
    let [best, distance] = [null as number | null, 22 * 22];
    rows.forEach((row, k) => {
      const d = (px(cloud.x[k] as number) - mx) ** 2 + (py(cloud.y[k] as number) - my) ** 2;
      if (d < distance) [best, distance] = [row, d];
    });
    return best;
  }

  function zoom(factor: number, mx = w / 2, my = h / 2) {
    const [cx, cy] = [box.x0 + (mx / w) * (box.x1 - box.x0), box.y1 - (my / h) * (box.y1 - box.y0)];
    const f = Math.max(factor, 1e-5 / (box.x1 - box.x0));
    setBox({
      x0: cx + (box.x0 - cx) * f,
      x1: cx + (box.x1 - cx) * f,
      y0: cy + (box.y0 - cy) * f,
      y1: cy + (box.y1 - cy) * f,
    });
  }

  function place(event: PointerEvent | WheelEvent): [number, number] {
    const frame = canvas.current?.getBoundingClientRect();
    return [event.clientX - (frame?.left ?? 0), event.clientY - (frame?.top ?? 0)];
  }

  function down(event: PointerEvent) {
    const [mx, my] = place(event);
    drag.current = { x: mx, y: my, box, lasso: props.lasso || event.shiftKey, moved: false };
    canvas.current?.setPointerCapture(event.pointerId);
    if (drag.current.lasso) setPath([[mx, my]]);
  }

  function move(event: PointerEvent) {
    const [mx, my] = place(event);
    const start = drag.current;
    if (!start) {
      const row = nearest(mx, my);
      props.onHover(row, event.clientX, event.clientY);
      return;
    }
    if (Math.hypot(mx - start.x, my - start.y) > 4) start.moved = true;
    if (!start.moved) return;
    props.onHover(null, 0, 0);
    if (start.lasso) {
      setPath((old) => [...old, [mx, my]]);
      return;
    }
    const [dx, dy] = [
      ((mx - start.x) / w) * (start.box.x1 - start.box.x0),
      ((my - start.y) / h) * (start.box.y1 - start.box.y0),
    ];
    setBox({ x0: start.box.x0 - dx, x1: start.box.x1 - dx, y0: start.box.y0 + dy, y1: start.box.y1 + dy });
  }

  function release(event: PointerEvent) {
    const start = drag.current;
    drag.current = null;
    if (frames.current.length > LEAST_FRAMES) setRate(rateOf(frames.current));
    frames.current = [];
    const [mx, my] = place(event);
    if (start?.lasso && start.moved) {
      const inside = rows.filter((_, k) => within(path, px(cloud.x[k] as number), py(cloud.y[k] as number)));
      props.onSelect(inside, event.ctrlKey || event.metaKey ? "add" : "set");
    } else if (start && !start.moved) {
      const row = nearest(mx, my);
      props.onFocus(row);
      if (row !== null && (event.shiftKey || event.ctrlKey || event.metaKey)) props.onSelect([row], "toggle");
      if (row === null) props.onSelect([], "set");
    }
    setPath([]);
  }

  function key(event: KeyboardEvent) {
    const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (direction) {
      event.preventDefault();
      event.stopPropagation();
      const next = beside(direction as [number, number]);
      if (next !== null) props.onFocus(next);
    } else if (event.key === "+" || event.key === "=") zoom(0.8);
    else if (event.key === "-") zoom(1.25);
    else if (event.key === "0") setBox(WHOLE);
  }

  /** The nearest point in a direction from the one in focus. */
  function beside([dx, dy]: [number, number]): number | null {
    const from = rows.indexOf(focus ?? -1);
    if (from < 0) return rows[0] ?? null;
    const [fx, fy] = [px(cloud.x[from] as number), py(cloud.y[from] as number)];
    let [best, least] = [null as number | null, Infinity];
    rows.forEach((row, k) => {
      const [ax, ay] = [px(cloud.x[k] as number) - fx, py(cloud.y[k] as number) - fy];
      const ahead = ax * dx + ay * dy;
      const aside = Math.abs(ax * dy) + Math.abs(ay * dx);
      if (k !== from && ahead > 0 && ahead + 3 * aside < least) [best, least] = [row, ahead + 3 * aside];
    });
    return best;
  }

  useEffect(() => {
    const element = canvas.current;
    const wheel = (event: WheelEvent) => {
      event.preventDefault();
      const [mx, my] = place(event);
      zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.004), mx, my);
    };
    element?.addEventListener("wheel", wheel, { passive: false });
    return () => element?.removeEventListener("wheel", wheel);
  });

  const shown = (u: number, of: typeof across) => of.low + u * (of.high - of.low);
  const axis = (of: typeof across, low: number, high: number, label: string) => ({
    low: shown(low, of),
    high: shown(high, of),
    scale: of.scale,
    label,
  });
  return (
    <div class="plot" ref={holder} data-testid="plot">
      <svg width={width} height={height}>
        <Axes
          width={width}
          height={height}
          padding={p}
          x={axis(across, box.x0, box.x1, x.label)}
          y={axis(up, box.y0, box.y1, y.label)}
        />
        {props.diagonal && <Diagonal across={across} up={up} px={(u) => p.left + px(u)} py={(u) => p.top + py(u)} />}
      </svg>
      <canvas
        ref={canvas}
        class={props.lasso ? "lasso" : ""}
        tabIndex={0}
        role="application"
        aria-label={props.label}
        style={{ left: p.left, top: p.top, width: w, height: h }}
        onPointerDown={down}
        onPointerMove={move}
        onPointerUp={release}
        onKeyDown={key}
        onPointerLeave={() => props.onHover(null, 0, 0)}
        onDblClick={() => setBox(WHOLE)}
      />
      {rate > 0 && rate < FLUENT && <small class="rate">moves at {Math.round(rate)} frames a second here</small>}
      {path.length > 1 && (
        <svg class="lasso-path" width={w} height={h} style={{ left: p.left, top: p.top }}>
          <polygon points={path.map(([a, b]) => `${a},${b}`).join(" ")} />
        </svg>
      )}
    </div>
  );
}

function Diagonal({
  across,
  up,
  px,
  py,
}: {
  across: ReturnType<typeof layout>;
  up: ReturnType<typeof layout>;
  px(u: number): number;
  py(u: number): number;
}) {
  const low = Math.max(across.low, up.low);
  const high = Math.min(across.high, up.high);
  const at = (v: number): [number, number] => [
    px((v - across.low) / (across.high - across.low)),
    py((v - up.low) / (up.high - up.low)),
  ];
  const [[x1, y1], [x2, y2]] = [at(low), at(high)];
  return <line class="diagonal" x1={x1} y1={y1} x2={x2} y2={y2} />;
}

function within(path: [number, number][], x: number, y: number): boolean {
  let inside = false;
  for (let i = 0, j = path.length - 1; i < path.length; j = i++) {
    const [[xi, yi], [xj, yj]] = [path[i] as [number, number], path[j] as [number, number]];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}
