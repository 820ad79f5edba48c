// Small things that several views share.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Column, Frame } from "./frame";
import { rounded, shown } from "./format";
import { mapUrl, pictureUrl, sheetUrl } from "./source";

export function Empty({ children }: { children: ComponentChildren }) {
  return (
    <div class="empty">
      <p>{children}</p>
    </div>
  );
}

export function Loading({ what = "Numbers are read" }: { what?: string }) {
  return (
    <div class="empty" role="status">
      <p class="waiting">{what} …</p>
    </div>
  );
}

/** What a view can be told; on a narrow screen it is folded away, since the figure needs the room. */
export function Controls({ children }: { children: ComponentChildren }) {
  const [open, setOpen] = useState(false);
  return (
    <>
      <button class="fold" aria-expanded={open} onClick={() => setOpen(!open)}>
        Options of this view {open ? "▴" : "▾"}
      </button>
      <div class={`controls foldable ${open ? "open" : ""}`}>{children}</div>
    </>
  );
}

/** A choice of a column: quantities first, then numeric keys, and words where they may be chosen too. */
export function ColumnChoice({
  label,
  frame,
  value,
  onChange,
  none,
  words = [],
}: {
  label: string;
  frame: Frame;
  value: string;
  onChange(name: string): void;
  none?: string;
  words?: string[];
}) {
  const quantities = frame.about.frame.columns;
  const keys = frame.about.frame.keys.filter((key) => key.numeric);
  return (
    <label>
      {label}
      <select value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        {none !== undefined && <option value="">{none}</option>}
        <optgroup label="Quantities">
          {quantities.map((column) => (
            <option key={column.name} value={column.name}>
              {column.label}
            </option>
          ))}
        </optgroup>
        {keys.length > 0 && (
          <optgroup label="Coordinates">
            {keys.map(({ name }) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </optgroup>
        )}
        {words.length > 0 && (
          <optgroup label="Words">
            {words.map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </optgroup>
        )}
      </select>
    </label>
  );
}

export function statusOf(column: Column, row: number, frame: Frame): string {
  const place = column.status[row] as number;
  return place < 0 ? "" : (frame.about.statuses[place]?.name ?? "");
}

/** A value with its error, and a mark where its status is not ok. */
export function Value({ column, row, frame }: { column: Column; row: number; frame: Frame }) {
  const value = column.value[row] as number;
  const status = column.info ? statusOf(column, row, frame) : "ok";
  const [number, error] = rounded(value, column.error?.[row]);
  if (Number.isNaN(value)) return <span class="missing">{status || "–"}</span>;
  const sign = status === "lower-bound" ? "≥ " : status === "upper-bound" ? "≤ " : "";
  const meaning = frame.about.statuses.find((entry) => entry.name === status)?.meaning;
  return (
    <span class="value">
      {sign}
      {number}
      {error && <small> ± {error}</small>}
      {status !== "ok" && status && (
        <b class="flag" title={`${status}: ${meaning}`}>
          {status}
        </b>
      )}
    </span>
  );
}

/** Where a value with its interval stands between two ends. */
export function Bar({ column, row, ends }: { column: Column; row: number; ends: [number, number] | null }) {
  const value = column.value[row] as number;
  if (!ends || Number.isNaN(value) || !(ends[1] > ends[0])) return <i class="bar" />;
  const at = (v: number) => `${Math.min(100, Math.max(0, (100 * (v - ends[0])) / (ends[1] - ends[0])))}%`;
  const [low, high] = [column.low[row] as number, column.high[row] as number];
  return (
    <i class="bar" aria-hidden="true">
      {high > low && <i class="interval" style={{ left: at(low), right: `calc(100% - ${at(high)})` }} />}
      <i class="mark" style={{ left: at(value) }} />
    </i>
  );
}

/** The names of a unit's pictures. */
export function picturesOf(frame: Frame, unit: string): string[] {
  const album = frame.about.album;
  if (!album) return [];
  let places = PLACES.get(frame);
  if (!places) PLACES.set(frame, (places = new Map(album.units.map((name, n) => [name, n]))));
  const place = places.get(unit);
  return place === undefined ? [] : (album.sets[album.of[place] as number] ?? []);
}

const PLACES = new WeakMap<Frame, Map<string, number>>();

/** A small picture out of a sheet of many; the row of a sample is its place there. */
export function Thumbnail({ frame, row, size }: { frame: Frame; row: number; size: number }) {
  const album = frame.about.album;
  if (!album || !frame.ofSamples) return <i class="thumbnail" style={{ width: size, height: size }} />;
  const [sheet, place] = [Math.floor(row / album.sheet), row % album.sheet];
  const [column, line] = [place % 16, Math.floor(place / 16)];
  const inSheet = Math.min(album.sheet, frame.rows - sheet * album.sheet);
  const style = {
    width: size,
    height: size,
    backgroundImage: `url("${sheetUrl(frame.run, sheet)}")`,
    backgroundSize: `${16 * size}px ${Math.ceil(inSheet / 16) * size}px`,
    backgroundPosition: `${-column * size}px ${-line * size}px`,
  };
  return <i class="thumbnail" role="img" aria-label={frame.title(row)} style={style} />;
}

export function Picture({ frame, unit, name, alt }: { frame: Frame; unit: string; name: string; alt: string }) {
  return <img src={pictureUrl(frame.run, unit, name)} alt={alt} loading="lazy" decoding="async" draggable={false} />;
}

/** How far two pictures are apart, pixel by pixel, four times brighter: black where they agree. */
export function Difference({ frame, unit }: { frame: Frame; unit: string }) {
  return (
    <span class="difference" role="img" aria-label={`difference of ${unit} and its reconstruction`}>
      <img src={pictureUrl(frame.run, unit, "")} alt="" loading="lazy" />
      <img src={pictureUrl(frame.run, unit, "reconstruction")} alt="" loading="lazy" />
    </span>
  );
}

/** A map of numbers over the picture that it belongs to, which is grey so that colours are the map's alone. */
export function Overlay({ frame, row, map, opacity }: { frame: Frame; row: number; map: number; opacity: number }) {
  const unit = frame.unit(row);
  const below = picturesOf(frame, unit)[0];
  const label = `${frame.about.maps[map]?.label}, over ${frame.title(row)}`;
  return (
    <span class="overlay" role="img" aria-label={label}>
      {below !== undefined && <img src={pictureUrl(frame.run, unit, below)} alt="" loading="lazy" />}
      <img src={mapUrl(frame.run, map, row)} alt="" loading="lazy" style={{ opacity }} />
    </span>
  );
}

/** How much of a map is seen over its picture: what the address says in percent. */
export function opacityOf(more: Record<string, string>): number {
  const wanted = Number(more.over ?? NaN);
  return wanted >= 0 && wanted <= 100 ? wanted / 100 : 0.6;
}

export const NAMES: Record<string, string> = {
  "": "image",
  reconstruction: "reconstruction",
  difference: "difference",
  overlay: "hotspots",
  where: "known by heart",
  first: "first",
  second: "second",
};

export function plusMinus(value: number | null, error: number | null): string {
  return value === null ? "–" : shown(value, error);
}
