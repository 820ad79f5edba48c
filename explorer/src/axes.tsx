// Ticks, scales and the frame of a figure.
import { tick } from "./format";

export interface Scale {
  log: boolean;
  /** From data units to the straight units in which a figure is laid out. */
  to(value: number): number;
  from(value: number): number;
}

export function scaleOf(log: boolean): Scale {
  return log
    ? { log, to: (v) => (v > 0 ? Math.log10(v) : NaN), from: (u) => 10 ** u }
    : { log, to: (v) => v, from: (u) => u };
}

/** Round places between two ends, in straight units, with their labels. */
export function ticks(low: number, high: number, scale: Scale, most: number): { at: number; text: string }[] {
  if (!(high > low)) return [];
  if (scale.log && high - low > 1.2) {
    const step = Math.max(1, Math.ceil((high - low) / most));
    const first = Math.ceil(low / step) * step;
    return Array.from({ length: Math.floor((high - first) / step) + 1 }, (_, n) => first + n * step).map((at) => ({
      at,
      text: tick(10 ** at),
    }));
  }
  const [a, b] = [scale.from(low), scale.from(high)];
  const raw = (b - a) / Math.max(1, most);
  const base = 10 ** Math.floor(Math.log10(raw));
  const step = base * ([1, 2, 5, 10].find((factor) => factor * base >= raw) ?? 10);
  const places: { at: number; text: string }[] = [];
  for (let value = Math.ceil(a / step) * step; value <= b + step * 1e-9 && places.length < 40; value += step) {
    const clean = Math.abs(value) < step * 1e-9 ? 0 : Number(value.toPrecision(12));
    places.push({ at: scale.to(clean), text: tick(clean) });
  }
  return places;
}

export interface Padding {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

interface AxesProps {
  width: number;
  height: number;
  padding: Padding;
  x: { low: number; high: number; scale: Scale; label: string };
  y: { low: number; high: number; scale: Scale; label: string };
}

/** Grid, ticks and labels around a rectangle. */
export function Axes({ width, height, padding: p, x, y }: AxesProps) {
  const [w, h] = [Math.max(1, width - p.left - p.right), Math.max(1, height - p.top - p.bottom)];
  const px = (u: number) => p.left + ((u - x.low) / (x.high - x.low)) * w;
  const py = (u: number) => p.top + (1 - (u - y.low) / (y.high - y.low)) * h;
  return (
    <g class="axes" aria-hidden="true">
      {ticks(x.low, x.high, x.scale, w / 90).map(({ at, text }) => (
        <g key={`x${at}`}>
          <line x1={px(at)} x2={px(at)} y1={p.top} y2={p.top + h} />
          <text x={px(at)} y={p.top + h + 16} text-anchor="middle">
            {text}
          </text>
        </g>
      ))}
      {ticks(y.low, y.high, y.scale, h / 54).map(({ at, text }) => (
        <g key={`y${at}`}>
          <line x1={p.left} x2={p.left + w} y1={py(at)} y2={py(at)} />
          <text x={p.left - 8} y={py(at) + 4} text-anchor="end">
            {text}
          </text>
        </g>
      ))}
      <text class="name" x={p.left + w / 2} y={height - 6} text-anchor="middle">
        {x.label}
      </text>
      <text class="name" transform={`translate(13 ${p.top + h / 2}) rotate(-90)`} text-anchor="middle">
        {y.label}
      </text>
    </g>
  );
}
