// What goes out of a selection, and what narrows what is shown.
import { useState } from "preact/hooks";
import type { Context } from "./context";
import { count } from "./format";
import type { Filter } from "./state";

function save(name: string, content: BlobPart, kind: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** A field of a CSV file; what a spreadsheet would take for a formula is quoted as text. */
export function field(value: unknown): string {
  const text =
    value === null || value === undefined || (typeof value === "number" && Number.isNaN(value)) ? "" : String(value);
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

async function csv({ frame }: Context, rows: number[]): Promise<string> {
  const keys = [...frame.keys];
  const columns = await Promise.all(frame.about.frame.columns.map((column) => frame.column(column.name)));
  const head = [
    ...keys.map(([name]) => name),
    ...columns.flatMap(({ name }) => [name, `${name} stderr`, `${name} status`]),
  ];
  const lines = rows.map((row) => [
    ...keys.map(([, values]) => values[row]),
    ...columns.flatMap((column) => [
      column.value[row],
      column.error?.[row] ?? null,
      frame.about.statuses[column.status[row] as number]?.name ?? "",
    ]),
  ]);
  return [head, ...lines].map((line) => line.map(field).join(",")).join("\r\n") + "\r\n";
}

/** A word of a shell command; quoted where it must be. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

export function ExportMenu({ context }: { context: Context }) {
  const { frame, selected, rows } = context;
  const [note, setNote] = useState("");
  const [text, setText] = useState("");
  const chosen = selected.size ? [...selected].sort((a, b) => a - b) : rows;
  const what = selected.size ? `${count(selected.size)} selected` : `all ${count(rows.length)} listed`;
  const name = frame.about.name;
  const files = chosen.map((row) => frame.title(row)).join("\n");
  const only =
    frame.about.only &&
    `${frame.about.only} --only ${quoted(chosen.map((row) => frame.unit(row).replaceAll(",", "\\,")).join(","))}`;
  const copy = (content: string, done: string) =>
    navigator.clipboard.writeText(content).then(
      () => setNote(done),
      () => setText(content),
    );
  return (
    <details
      class="menu"
      onToggle={() => {
        setNote("");
        setText("");
      }}
    >
      <summary>Take out</summary>
      <div class="sheet right">
        <p>
          <b>{what}</b>
        </p>
        <button
          onClick={async () => {
            save(`${name}.csv`, await csv(context, chosen), "text/csv");
            setNote("CSV saved");
          }}
        >
          Numbers as CSV
        </button>
        {frame.ofSamples && (
          <button
            onClick={() => {
              save(`${name}.txt`, files + "\n", "text/plain");
              setNote("list saved");
            }}
          >
            List of files
          </button>
        )}
        {only && <button onClick={() => copy(only, "command copied")}>Command that measures these again</button>}
        <a href={`runs/${frame.run}/quantities.parquet`} download={`${name}.parquet`}>
          Whole run as Parquet
        </a>
        <button onClick={() => copy(location.href, "link copied")}>Link to this view</button>
        {note && <p role="status">{note}</p>}
        {text && (
          <textarea readOnly rows={4} aria-label="to copy">
            {text}
          </textarea>
        )}
      </div>
    </details>
  );
}

export function FilterMenu({ context }: { context: Context }) {
  const { frame, view, go } = context;
  const [column, setColumn] = useState("");
  const [kind, setKind] = useState<Filter["kind"]>("least");
  const [value, setValue] = useState("");
  const columns = frame.numeric;
  const words = frame.categorical;
  const isWord = words.includes(column);
  const values = isWord ? [...new Set((frame.keys.get(column) ?? []).map(String))].sort() : [];
  const how = isWord ? "is" : kind === "is" ? "least" : kind;
  const add = (event: Event) => {
    event.preventDefault();
    const given = how === "is" ? value || values[0] || "" : how === "status" ? value || "ok" : value;
    if (!column || (["least", "most"].includes(how) && (given === "" || !Number.isFinite(Number(given))))) return;
    go({ filters: [...view.filters, { column, kind: how, value: given }] });
    setValue("");
  };
  return (
    <details class="menu">
      <summary>Filter {view.filters.length > 0 && <small>{view.filters.length}</small>}</summary>
      <form class="sheet" onSubmit={add}>
        <label>
          Of
          <select
            value={column}
            onChange={(event) => {
              setColumn(event.currentTarget.value);
              setValue("");
            }}
          >
            <option value="">choose …</option>
            {words.map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
            {columns.map(({ name, label }) => (
              <option key={name} value={name}>
                {label}
              </option>
            ))}
          </select>
        </label>
        {column && !isWord && (
          <label>
            keep
            <select
              value={how}
              onChange={(event) => {
                setKind(event.currentTarget.value as Filter["kind"]);
                setValue("");
              }}
            >
              <option value="least">at least</option>
              <option value="most">at most</option>
              <option value="status">status is</option>
            </select>
          </label>
        )}
        {column &&
          (isWord || how === "status" ? (
            <select
              aria-label="value"
              value={value || (isWord ? values[0] : "ok")}
              onChange={(event) => setValue(event.currentTarget.value)}
            >
              {(isWord ? values : frame.about.statuses.map((status) => status.name)).map((name) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          ) : (
            <input
              aria-label="value"
              inputMode="decimal"
              value={value}
              placeholder={hint(context, column)}
              onInput={(event) => setValue(event.currentTarget.value)}
            />
          ))}
        <button disabled={!column}>Add filter</button>
      </form>
    </details>
  );
}

function hint({ frame }: Context, name: string): string {
  const column = frame.peek(name);
  if (!column) return "a number";
  const finite = [...column.value].filter(Number.isFinite).sort((a, b) => a - b);
  const middle = finite[Math.floor(finite.length / 2)];
  return middle === undefined ? "a number" : `e.g. ${Number(middle.toPrecision(3))}`;
}

const SAID: Record<Filter["kind"], string> = { least: "≥", most: "≤", status: "is", is: "=" };

export function Chips({ context }: { context: Context }) {
  const { frame, view, go, rows } = context;
  if (!view.filters.length && !view.search) return null;
  const label = (name: string) => frame.about.frame.columns.find((column) => column.name === name)?.label ?? name;
  return (
    <div class="chips" role="status">
      {view.filters.map((filter, n) => (
        <button
          key={n}
          class="chip on"
          title="remove this filter"
          onClick={() => go({ filters: view.filters.filter((_, k) => k !== n) })}
        >
          {label(filter.column)} {SAID[filter.kind]} {filter.value} <b>×</b>
        </button>
      ))}
      <small>
        {count(rows.length)} of {count(frame.rows)} listed
      </small>
    </div>
  );
}
