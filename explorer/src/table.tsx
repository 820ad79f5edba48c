// Every row with its numbers; only what is in sight is drawn.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Context } from "./context";
import type { Column } from "./frame";
import { useColumns, useSize } from "./hooks";
import { Bar, Controls, Empty, Loading, Thumbnail, Value } from "./parts";
import { extent } from "./state";

const ROW = 34;
const WIDTH = 148;
const SPARE = 8;

export function Table({ context }: { context: Context }) {
  const { frame, view, rows, selected } = context;
  const [holder, { width, height }] = useSize<HTMLDivElement>();
  const [top, setTop] = useState(0);
  const names = frame.about.frame.columns.map((column) => column.name);
  const chosen = view.more.columns
    ? view.more.columns.split("|").filter((name) => names.includes(name))
    : names.slice(0, 16);
  const columns = useColumns(frame, chosen);
  const first = Math.max(0, Math.floor(top / ROW) - SPARE);
  const shown = rows.slice(first, first + Math.ceil(height / ROW) + 2 * SPARE);
  const ends = useMemo(
    () => columns?.map((column) => column && extent(column, rows)) ?? [],
    [columns?.length, rows, chosen.join()],
  );
  const last = useRef<number | null>(null);
  const keys = frame.about.frame.keys.filter((key) => key.name !== "unit" && key.name !== "file");
  const lead = width < 600 ? 132 : 230;
  useEffect(() => {
    const place = view.focus === null ? -1 : rows.indexOf(view.focus);
    const element = holder.current;
    if (place < 0 || !element) return;
    if (place * ROW < element.scrollTop) element.scrollTop = place * ROW;
    if ((place + 2) * ROW > element.scrollTop + height) element.scrollTop = (place + 2) * ROW - height;
  }, [view.focus, height]);

  function click(event: MouseEvent, row: number) {
    if (event.shiftKey && last.current !== null) {
      const [a, b] = [rows.indexOf(last.current), rows.indexOf(row)].sort((p, q) => p - q) as [number, number];
      context.select(rows.slice(Math.max(0, a), b + 1), "add");
    } else if (event.ctrlKey || event.metaKey) context.select([row], "toggle");
    last.current = row;
    context.focus(row);
  }

  const sort = (name: string) =>
    context.go(view.sort === name ? { descending: !view.descending } : { sort: name, descending: frame.has(name) });
  const arrow = (name: string) => (view.sort === name ? (view.descending ? " ↓" : " ↑") : "");
  const aria = (name: string) => (view.sort === name ? (view.descending ? "descending" : "ascending") : "none");
  const style = {
    gridTemplateColumns: `34px ${lead}px ${keys.map(() => "112px").join(" ")} ${chosen.map(() => `${WIDTH}px`).join(" ")}`,
  };
  const label = frame.ofSamples ? "sample" : "place";
  const groups = view.group ? frame.keys.get(view.group) : undefined;
  if (!names.length) return <Empty>This run holds no number yet.</Empty>;
  return (
    <div class="view">
      <ColumnMenu context={context} chosen={chosen} names={names} />
      <div
        class="table"
        ref={holder}
        role="grid"
        aria-rowcount={rows.length + 1}
        aria-label="All numbers"
        tabIndex={0}
        onScroll={(event) => setTop(event.currentTarget.scrollTop)}
      >
        <div class="head row" role="row" style={style}>
          <span role="columnheader">
            <Every context={context} />
          </span>
          <button role="columnheader" class="lead" aria-sort={aria("file")} onClick={() => sort("file")}>
            {label}
            {arrow("file")}
          </button>
          {keys.map((key) => (
            <button role="columnheader" key={key.name} aria-sort={aria(key.name)} onClick={() => sort(key.name)}>
              {key.name}
              {arrow(key.name)}
            </button>
          ))}
          {chosen.map((name) => {
            const info = frame.about.frame.columns.find((column) => column.name === name);
            return (
              <button
                role="columnheader"
                key={name}
                class="number"
                aria-sort={aria(name)}
                onClick={() => sort(name)}
                title={[info?.meaning, info?.formula].filter(Boolean).join("\n")}
              >
                {info?.label}
                {arrow(name)}
                {info?.unit && <small>{info.unit}</small>}
              </button>
            );
          })}
        </div>
        <div
          class="rows"
          style={{ height: rows.length * ROW, width: 34 + lead + keys.length * 112 + chosen.length * WIDTH }}
        >
          {!columns && <Loading />}
          {columns &&
            shown.map((row, n) => {
              const place = first + n;
              const starts = groups && (place === 0 || groups[rows[place - 1] as number] !== groups[row]);
              return (
                <div
                  key={row}
                  role="row"
                  aria-rowindex={place + 2}
                  aria-selected={selected.has(row)}
                  data-row={row}
                  class={`row ${selected.has(row) ? "selected" : ""} ${view.focus === row ? "focus" : ""} ${starts ? "starts" : ""}`}
                  style={{ ...style, top: place * ROW }}
                  onClick={(event) => click(event, row)}
                >
                  <span role="gridcell">
                    <input
                      type="checkbox"
                      checked={selected.has(row)}
                      aria-label={`select ${frame.title(row)}`}
                      onClick={(event) => {
                        event.stopPropagation();
                        context.select([row], "toggle");
                      }}
                    />
                  </span>
                  <span role="gridcell" class="lead" title={frame.title(row)}>
                    {frame.about.album && frame.ofSamples && <Thumbnail frame={frame} row={row} size={28} />}
                    <span>{frame.title(row)}</span>
                  </span>
                  {keys.map((key) => (
                    <span role="gridcell" key={key.name} class="word">
                      {word(frame.keys.get(key.name)?.[row])}
                    </span>
                  ))}
                  {columns.map(
                    (column, c) =>
                      column && (
                        <Cell key={column.name} column={column} row={row} context={context} ends={ends[c] ?? null} />
                      ),
                  )}
                </div>
              );
            })}
        </div>
      </div>
    </div>
  );
}

function Cell({
  column,
  row,
  context,
  ends,
}: {
  column: Column;
  row: number;
  context: Context;
  ends: [number, number] | null;
}) {
  return (
    <span role="gridcell" class="number">
      <Value column={column} row={row} frame={context.frame} />
      <Bar column={column} row={row} ends={ends} />
    </span>
  );
}

function word(value: unknown): string {
  return typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value ?? "");
}

function Every({ context }: { context: Context }) {
  const { rows, selected } = context;
  const all = rows.length > 0 && rows.every((row) => selected.has(row));
  return (
    <input
      type="checkbox"
      aria-label="select all rows that are listed"
      checked={all}
      onClick={() => context.select(all ? [] : rows, "set")}
    />
  );
}

function ColumnMenu({ context, chosen, names }: { context: Context; chosen: string[]; names: string[] }) {
  const { frame, view } = context;
  const flip = (name: string) => {
    const next = chosen.includes(name)
      ? chosen.filter((other) => other !== name)
      : names.filter((n) => n === name || chosen.includes(n));
    context.more("columns", next.join("|"));
  };
  return (
    <Controls>
      <details class="menu">
        <summary>
          Columns{" "}
          <small>
            {chosen.length} of {names.length}
          </small>
        </summary>
        <div class="sheet columns">
          {frame.about.frame.columns.map((column) => (
            <label key={column.name}>
              <input type="checkbox" checked={chosen.includes(column.name)} onChange={() => flip(column.name)} />
              {column.label}
            </label>
          ))}
        </div>
      </details>
      {frame.categorical.length > 0 && (
        <label>
          Group by
          <select value={view.group} onChange={(event) => context.go({ group: event.currentTarget.value })}>
            <option value="">nothing</option>
            {frame.categorical.map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        </label>
      )}
      <small class="hint">Bars: 95 % intervals within the range of the column.</small>
    </Controls>
  );
}
