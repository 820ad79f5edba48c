// The spectrum of the selection beside all.
import { useMemo } from "preact/hooks";
import type { Context } from "./context";
import { useLoaded } from "./hooks";
import { Lines, Stroke } from "./lines";
import type { Line, Point } from "./lines";
import { DASHES, series as tone } from "./palette";
import { Empty, Loading } from "./parts";
import { floats, json } from "./source";

interface SpectrumData {
  of: number;
  drawn: number;
  sides: Record<
    string,
    {
      grid: number[];
      mean: number[];
      margin: number[] | null;
      nullShare: number;
      bandwidth: number;
      rows: number[];
      curves: string;
    }
  >;
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
      {sides.map(([side, data], n) => (
        <SpectrumFigure
          key={side}
          side={side}
          data={data}
          chosen={chosen}
          context={context}
          n={n}
          height={sides.length > 1 ? 300 : 420}
        />
      ))}
      <p class="note">
        Density of singular values of the map: to the right it stretches more. Bold: the mean over samples with its 95 %
        band; faint: samples; coloured: what is selected, the first eight
        {chosen.length ? "" : " (nothing yet: choose samples in any view)"}.
        {value.drawn < value.of && ` Of ${value.of} samples ${value.drawn} at even steps are drawn.`}
      </p>
    </div>
  );
}

function SpectrumFigure({
  side,
  data,
  chosen,
  context,
  n,
  height,
}: {
  side: string;
  data: SpectrumData["sides"][string];
  chosen: number[];
  context: Context;
  n: number;
  height: number;
}) {
  const curves = useMemo(() => floats(data.curves), [data]);
  const ink = context.theme === "dark" ? "#e8edf3" : "#1b2430";
  const lines = useMemo(() => {
    const size = data.grid.length;
    const of = (k: number): Point[] =>
      data.grid.map((x, i) => [10 ** x, curves[k * size + i] as number, null, null, 1]);
    const made: Line[] = [];
    const step = Math.ceil(data.rows.length / FAINT);
    for (let k = 0; k < data.rows.length; k += step) {
      made.push({ label: "", points: of(k), colour: "#8b95a4", width: 1, opacity: 0.28, band: false });
    }
    const points = data.grid.map((x, i): Point => {
      const [mean, margin] = [data.mean[i] as number, data.margin?.[i]];
      return [
        10 ** x,
        mean,
        margin === undefined ? null : Math.max(0, mean - margin),
        margin === undefined ? null : mean + margin,
        1,
      ];
    });
    made.push({ label: `mean of ${data.rows.length}`, points, colour: ink, width: 2.5 });
    chosen.slice(0, 8).forEach((row, c) => {
      const k = data.rows.indexOf(row);
      if (k >= 0)
        made.push({
          label: context.frame.title(row),
          points: of(k),
          colour: tone(c),
          dash: DASHES[Math.floor(c / 4)],
          width: 2.5,
        });
    });
    return made;
  }, [data, curves, chosen.join(), ink]);
  const title = side === "spectrum" ? "" : (side.split("/")[1] ?? "");
  return (
    <figure class="card wide">
      <figcaption>
        <b>{title ? `Spectrum of the ${title}` : "Spectrum"}</b>
        {data.nullShare > 5e-4 && (
          <small> {(100 * data.nullShare).toFixed(1)} % of directions are null, and have no place on this axis</small>
        )}
      </figcaption>
      <div class="legend">
        {lines
          .filter((line) => line.label)
          .map((line) => (
            <span key={line.label}>
              <Stroke line={line} />
              {line.label}
            </span>
          ))}
      </div>
      <Lines
        lines={lines}
        log={true}
        across="singular value σ, log"
        up="density per decade"
        height={height}
        least={0}
        label={`Density of singular values ${n ? title : ""}`}
      />
    </figure>
  );
}
