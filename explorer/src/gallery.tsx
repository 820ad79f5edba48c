// Pictures of samples, and pictures of units that are no samples.
import { useState } from "preact/hooks";
import type { Context } from "./context";
import { useColumns, useSize } from "./hooks";
import { tick } from "./format";
import type { Frame, PictureMap } from "./frame";
import { OVER_PICTURES } from "./palette";
import {
  ColumnChoice,
  Controls,
  Difference,
  Empty,
  NAMES,
  Overlay,
  Picture,
  Thumbnail,
  Value,
  opacityOf,
  picturesOf,
} from "./parts";
import { usual } from "./scatter";

const SIZES: Record<string, number> = { small: 66, medium: 128, large: 208 };

export function Gallery({ context }: { context: Context }) {
  const { frame, view, rows, selected } = context;
  const [holder, { width, height }] = useSize<HTMLDivElement>();
  const [top, setTop] = useState(0);
  const names = [...new Set((frame.about.album?.sets ?? []).flat())];
  const derived = names.includes("") && names.includes("reconstruction") && !names.includes("difference");
  const maps = frame.about.maps;
  const all = [...names, ...(derived ? ["|difference|"] : []), ...maps.map((map) => mapName(map))];
  const chosen = (
    view.more.pictures ?? (all.includes("") ? ".," : "") + (all.includes("reconstruction") ? "reconstruction," : "")
  )
    .split(",")
    .filter(Boolean)
    .map((name) => (name === "." ? "" : name))
    .filter((name) => all.includes(name));
  const shown = chosen.length ? chosen : all.slice(0, 1);
  const mapped = maps.filter((map) => shown.includes(mapName(map)));
  const opacity = opacityOf(view.more);
  const size = view.more.size && SIZES[view.more.size] ? view.more.size : rows.length > 400 ? "small" : "medium";
  const side = SIZES[size] as number;
  const isSmall = size === "small";
  const number = frame.has(view.more.number ?? "")
    ? (view.more.number as string)
    : view.sort && frame.has(view.sort)
      ? view.sort
      : usual(context, 0);
  const columns = useColumns(frame, [number]);
  const cell = isSmall
    ? { w: side + 4, h: side + 4 }
    : { w: shown.length * (side + 4) + 14, h: side + (shown.length > 1 ? 74 : 58) };
  const across = Math.max(1, Math.floor((width - 8) / cell.w));
  const lines = Math.ceil(rows.length / across);
  const first = Math.max(0, Math.floor(top / cell.h) - 1);
  const visible = rows.slice(first * across, (first + Math.ceil(height / cell.h) + 2) * across);

  function flip(name: string) {
    const next = all.filter((other) => (other === name ? !shown.includes(name) : shown.includes(other)));
    context.more("pictures", next.map((other) => other || ".").join(","));
  }

  return (
    <div class="view">
      <Controls>
        <ColumnChoice
          label="Sort by"
          frame={frame}
          value={view.sort}
          none="order of the run"
          words={["file"]}
          onChange={(sort) => context.go({ sort, descending: true })}
        />
        <button class="quiet" onClick={() => context.go({ descending: !view.descending })}>
          {view.descending ? "largest first" : "smallest first"}
        </button>
        <label>
          Size
          <select value={size} onChange={(event) => context.more("size", event.currentTarget.value)}>
            {Object.keys(SIZES).map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        </label>
        {!isSmall &&
          all.map((name) => (
            <label key={name} class="check">
              <input type="checkbox" checked={shown.includes(name)} onChange={() => flip(name)} />
              {titleOf(name, frame)}
            </label>
          ))}
        {!isSmall && mapped.length > 0 && (
          <label>
            Maps over pictures
            <input
              type="range"
              min={0}
              max={100}
              step={5}
              value={Math.round(100 * opacity)}
              aria-label="how much of a map is seen over its picture"
              onInput={(event) => context.more("over", event.currentTarget.value)}
            />
          </label>
        )}
        {!isSmall && columns?.[0] && <small class="hint">Below each: {columns[0].label}.</small>}
      </Controls>
      {!isSmall && mapped.length > 0 && (
        <div class="legend scales">
          {mapped.map((map) => (
            <MapScale key={map.name} map={map} />
          ))}
          <small>from the 1 % to the 99 % quantile of all cells of the run</small>
        </div>
      )}
      <div
        class="gallery"
        ref={holder}
        onScroll={(event) => setTop(event.currentTarget.scrollTop)}
        tabIndex={0}
        aria-label="Pictures of all samples"
      >
        <div style={{ height: lines * cell.h, position: "relative" }}>
          {visible.map((row, n) => {
            const place = first * across + n;
            const unit = frame.unit(row);
            const there = picturesOf(frame, unit);
            return (
              <button
                key={row}
                data-row={row}
                title={frame.title(row)}
                aria-pressed={selected.has(row)}
                class={`tile ${isSmall ? "bare" : ""} ${selected.has(row) ? "selected" : ""} ${view.focus === row ? "focus" : ""}`}
                style={{
                  left: (place % across) * cell.w,
                  top: Math.floor(place / across) * cell.h,
                  width: cell.w - 4,
                  height: cell.h - 4,
                }}
                onClick={(event) => {
                  if (event.shiftKey || event.ctrlKey || event.metaKey) context.select([row], "toggle");
                  context.focus(row);
                }}
                onMouseMove={(event) => isSmall && context.hover(row, event.clientX, event.clientY)}
                onMouseLeave={() => context.hover(null, 0, 0)}
              >
                {isSmall ? (
                  <Thumbnail frame={frame} row={row} size={side} />
                ) : (
                  <>
                    <span class="pictures">
                      {shown.map((name) => (
                        <span key={name} class="shown" style={{ width: side }}>
                          <span class="frame" style={{ width: side, height: side }}>
                            {name === "|difference|" ? (
                              <Difference frame={frame} unit={unit} />
                            ) : maps.some((map) => mapName(map) === name) ? (
                              <Overlay
                                frame={frame}
                                row={row}
                                map={maps.findIndex((map) => mapName(map) === name)}
                                opacity={opacity}
                              />
                            ) : there.includes(name) ? (
                              <Picture
                                frame={frame}
                                unit={unit}
                                name={name}
                                alt={`${frame.title(row)}, ${titleOf(name, frame)}`}
                              />
                            ) : (
                              <small>none</small>
                            )}
                          </span>
                          {shown.length > 1 && <small>{titleOf(name, frame)}</small>}
                        </span>
                      ))}
                    </span>
                    <span class="caption">{frame.title(row)}</span>
                    <span class="caption muted">
                      {columns?.[0] && <Value column={columns[0]} row={row} frame={frame} />}
                    </span>
                  </>
                )}
              </button>
            );
          })}
        </div>
      </div>
    </div>
  );
}

/** The name of a map in the address, which no picture has. */
function mapName(map: PictureMap): string {
  return `|map ${map.name}|`;
}

function titleOf(name: string, frame: Frame): string {
  const map = frame.about.maps.find((own) => mapName(own) === name);
  return map?.label ?? (name === "|difference|" ? "difference × 4" : (NAMES[name] ?? name));
}

/** What the colours of a map mean; the same for every sample, so that they can be compared. */
function MapScale({ map }: { map: PictureMap }) {
  return (
    <span title={map.meaning}>
      {map.label}
      {map.unit && <small> {map.unit}</small>}
      <span class="number">{tick(Number(map.low.toPrecision(3)))}</span>
      <i class="scale" style={{ background: `linear-gradient(90deg, ${OVER_PICTURES.join(", ")})` }} />
      <span class="number">{tick(Number(map.high.toPrecision(3)))}</span>
    </span>
  );
}

/** Every unit of a run whose units are no samples: strips of a path, samples along geodesics, rungs of a ladder. */
export function Strips({ context }: { context: Context }) {
  const { frame } = context;
  const album = frame.about.album;
  if (!album) return <Empty>This run holds no pictures.</Empty>;
  const needle = context.view.search.trim().toLowerCase();
  const shown = album.units.filter(
    (unit) => picturesOf(frame, unit).length && (!needle || unit.toLowerCase().includes(needle)),
  );
  return (
    <div class="view scroll">
      {shown.map((unit) => {
        const names = picturesOf(frame, unit);
        const strips = names.filter((name) => /^(strip|curve-\d+)$/.test(name));
        const single = names.filter((name) => !strips.includes(name));
        return (
          <section class="strips" key={unit}>
            <h3>{unit}</h3>
            {strips.map((name) => (
              <figure class="strip" key={name}>
                <Picture frame={frame} unit={unit} name={name} alt={`${unit}, ${name}`} />
                {name !== "strip" && <figcaption>{name.replace("curve-", "geodesic ")}</figcaption>}
              </figure>
            ))}
            {single.length > 0 && (
              <div class="singles">
                {single.map((name) => (
                  <figure key={name}>
                    <Picture frame={frame} unit={unit} name={name} alt={`${unit}, ${name || "picture"}`} />
                    <figcaption>{name}</figcaption>
                  </figure>
                ))}
              </div>
            )}
          </section>
        );
      })}
      {!shown.length && <Empty>No unit has that name.</Empty>}
    </div>
  );
}
