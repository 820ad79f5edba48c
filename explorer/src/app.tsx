// The page: runs, views, what is selected, and the keys.
import { useCallback, useEffect, useLayoutEffect, useMemo, useState } from "preact/hooks";
import type { Context, Live } from "./context";
import { Curves } from "./curves";
import { Frame } from "./frame";
import { count, shown } from "./format";
import { Gallery, Strips } from "./gallery";
import { useColumns, useLoaded } from "./hooks";
import { Inspector } from "./inspector";
import { Chips, ExportMenu, FilterMenu } from "./menus";
import { Pairs } from "./pairs";
import { Empty, Loading, Thumbnail } from "./parts";
import { Phases } from "./phases";
import { Projection, Scatter, usual } from "./scatter";
import { json } from "./source";
import { Spectrum } from "./spectrum";
import { EMPTY, fromHash, needed, toHash, visible } from "./state";
import type { View } from "./state";
import { Table } from "./table";
import { Turn } from "./turn";

interface Runs {
  runs: { name: string; kind: string }[];
  live: Live | null;
}

const VIEWS: Record<string, { title: string; draw: (props: { context: Context }) => preact.JSX.Element }> = {
  phases: { title: "Phase map", draw: Phases },
  curves: { title: "Curves", draw: Curves },
  pairs: { title: "Pairs", draw: Pairs },
  scatter: { title: "Scatter", draw: Scatter },
  gallery: { title: "Gallery", draw: Gallery },
  strips: { title: "Pictures", draw: Strips },
  spectrum: { title: "Spectrum", draw: Spectrum },
  projection: { title: "Projection", draw: Projection },
  table: { title: "Table", draw: Table },
  turn: { title: "Turn", draw: Turn },
};

/** Remembered beyond this page where the browser allows it; a folder opened by file:// may not. */
function remembered(): string {
  try {
    return localStorage.getItem("theodolite-theme") ?? "";
  } catch {
    return "";
  }
}

function useTheme(): [string, () => void] {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const [theme, setTheme] = useState(remembered() || (dark.matches ? "dark" : "light"));
  document.documentElement.dataset.theme = theme;
  const flip = () => {
    const next = theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("theodolite-theme", next);
    } catch {
      /* the choice lasts as long as this page */
    }
    document.documentElement.dataset.theme = next;
    setTheme(next);
  };
  return [theme, flip];
}

export function App() {
  const [theme, flip] = useTheme();
  const { value: runs, error } = useLoaded(() => json<Runs>("runs.json"), []);
  const [view, setView] = useState<View>(() => fromHash(location.hash));
  useEffect(() => {
    const back = () => setView(fromHash(location.hash));
    addEventListener("hashchange", back);
    return () => removeEventListener("hashchange", back);
  }, []);
  const go = useCallback((change: Partial<View>) => {
    setView((old) => {
      const next = { ...old, ...change };
      history.replaceState(null, "", toHash(next));
      return next;
    });
  }, []);
  const number = Math.min(view.run, Math.max(0, (runs?.runs.length ?? 1) - 1));
  const { value: frame, error: broken } = useLoaded<Frame | null>(
    async () => (runs ? Frame.open(number) : null),
    [runs, number],
  );
  if (error || broken) return <Empty>{error || broken}</Empty>;
  if (!runs || !frame || frame.run !== number) return <Loading what="The run is read" />;
  return <Page key={number} frame={frame} runs={runs} view={view} go={go} theme={theme} flip={flip} />;
}

function Page({
  frame,
  runs,
  view,
  go,
  theme,
  flip,
}: {
  frame: Frame;
  runs: Runs;
  view: View;
  go(change: Partial<View>): void;
  theme: string;
  flip(): void;
}) {
  const [help, setHelp] = useState(false);
  const [pointed, setPointed] = useState<{ row: number; x: number; y: number } | null>(null);
  const ready = useColumns(frame, needed(frame, view));
  const filters = JSON.stringify(view.filters);
  const rows = useMemo(
    () => visible(frame, view),
    [frame, ready !== null, filters, view.search, view.sort, view.descending, view.group],
  );
  const selected = useMemo(() => new Set(view.selected.filter((row) => row < frame.rows)), [view.selected, frame]);
  const views = useMemo(() => {
    const own = frame.about.views.filter((name) => VIEWS[name]);
    const paired = frame.ofSamples && runs.runs.length > 1 && !own.includes("pairs") ? ["pairs"] : [];
    return [...own, ...paired, ...(runs.live && frame.about.hasLatents ? ["turn"] : [])];
  }, [frame, runs]);
  const name = views.includes(view.view) ? view.view : (views[0] ?? "");
  useEffect(() => setPointed(null), [name]);
  useEffect(() => {
    const outside = (event: PointerEvent) => shutMenus((menu) => !menu.contains(event.target as Node));
    addEventListener("pointerdown", outside);
    return () => removeEventListener("pointerdown", outside);
  }, []);
  useEffect(() => {
    document.title = `${frame.about.name} · Theodolite`;
  }, [frame]);

  const context: Context = {
    frame,
    frames: runs.runs,
    view: view.focus !== null && view.focus >= frame.rows ? { ...view, focus: null } : view,
    rows,
    selected,
    theme,
    live: runs.live,
    go,
    more: (key, value) => go({ more: { ...view.more, [key]: value } }),
    focus: (row) => go({ focus: row }),
    hover: (row, x, y) => setPointed(row === null ? null : { row, x, y }),
    select(chosen, how) {
      if (how === "set") return go({ selected: chosen });
      const next = new Set(selected);
      for (const row of chosen) {
        if (how === "toggle" && next.has(row)) next.delete(row);
        else next.add(row);
      }
      go({ selected: [...next] });
    },
  };

  // At once after every change: the next key must not meet the state before it.
  useLayoutEffect(() => {
    const key = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (/^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName) && (target as HTMLInputElement).type !== "checkbox") {
        if (event.key === "Escape") target.blur();
        return;
      }
      const step = { j: 1, k: -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step && rows.length) {
        event.preventDefault();
        const at = view.focus === null ? (step > 0 ? -1 : 0) : rows.indexOf(view.focus);
        go({ focus: rows[Math.min(rows.length - 1, Math.max(0, at + step))] ?? null });
      } else if (event.key === " " && view.focus !== null && target.tagName !== "BUTTON") {
        event.preventDefault();
        context.select([view.focus], "toggle");
      } else if (event.key === "Escape") {
        if (shutMenus(() => true)) return;
        if (help) setHelp(false);
        else if (view.focus !== null) go({ focus: null });
        else go({ selected: [] });
      } else if (event.key === "/") {
        event.preventDefault();
        document.querySelector<HTMLInputElement>("input[type=search]")?.focus();
      } else if (event.key === "t") flip();
      else if (event.key === "a") context.select(rows, "set");
      else if (event.key === "?") setHelp(!help);
      else if (/^[1-9]$/.test(event.key) && views[Number(event.key) - 1])
        go({ view: views[Number(event.key) - 1] as string });
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  });

  const Draw = VIEWS[name]?.draw;
  return (
    <div class={`page ${view.focus === null ? "" : "focused"}`} data-view={name} data-ready={ready !== null}>
      <header>
        <span class="brand">
          <Mark />
          Theodolite
        </span>
        {runs.runs.length > 1 ? (
          <select
            class="run"
            aria-label="run"
            value={String(frame.run)}
            onChange={(event) => go({ ...EMPTY, run: Number(event.currentTarget.value), view: name })}
          >
            {runs.runs.map((run, n) => (
              <option key={n} value={String(n)}>
                {run.name} ({run.kind})
              </option>
            ))}
          </select>
        ) : (
          <span class="run">
            <b>{frame.about.name}</b> <small>{frame.about.kind}</small>
          </span>
        )}
        <span class="tools">
          <input
            type="search"
            placeholder="Search"
            aria-label="search by name"
            value={view.search}
            onInput={(event) => go({ search: event.currentTarget.value })}
          />
          <FilterMenu context={context} />
          <ExportMenu context={context} />
          {selected.size > 0 && (
            <button class="chip on" title="deselect all (Esc)" onClick={() => go({ selected: [] })}>
              {count(selected.size)} selected <b>×</b>
            </button>
          )}
          <button
            class="quiet"
            aria-label={`switch to ${theme === "dark" ? "light" : "dark"}`}
            title="light or dark (t)"
            onClick={flip}
          >
            {theme === "dark" ? "☀" : "☾"}
          </button>
          <button class="quiet" aria-label="keys" title="keys (?)" onClick={() => setHelp(!help)}>
            ?
          </button>
        </span>
      </header>
      <nav role="tablist" aria-label="views">
        {views.map((own, n) => (
          <button
            key={own}
            role="tab"
            aria-selected={own === name}
            title={n < 9 ? `key ${n + 1}` : ""}
            onClick={() => go({ view: own })}
          >
            {VIEWS[own]?.title}
          </button>
        ))}
      </nav>
      <Chips context={context} />
      <main role="tabpanel" aria-label={VIEWS[name]?.title}>
        {!Draw ? (
          <Empty>This run holds nothing to look at yet.</Empty>
        ) : ready === null ? (
          <Loading />
        ) : (
          <Draw context={context} />
        )}
      </main>
      <Inspector context={context} />
      {pointed && <Tip context={context} {...pointed} name={name} />}
      {help && <Help views={views.map((own) => VIEWS[own]?.title ?? own)} close={() => setHelp(false)} />}
    </div>
  );
}

function Tip({ context, row, x, y, name }: { context: Context; row: number; x: number; y: number; name: string }) {
  const { frame, view } = context;
  const wanted = (
    name === "scatter"
      ? [frame.has(view.x) ? view.x : usual(context, 0), frame.has(view.y) ? view.y : usual(context, 1), view.c]
      : [view.c || usual(context, 0)]
  ).filter((column) => column && frame.has(column));
  const columns = useColumns(frame, [...new Set(wanted)]);
  const style = { left: Math.min(x + 16, innerWidth - 260), top: y > innerHeight - 170 ? y - 120 : y + 14 };
  return (
    <div class="tip" style={style} aria-hidden="true">
      {frame.about.album && frame.ofSamples && <Thumbnail frame={frame} row={row} size={56} />}
      <div>
        <b>{frame.title(row)}</b>
        {columns?.map(
          (column) =>
            column && (
              <span key={column.name}>
                {column.label} <em>{shown(column.value[row] as number, column.error?.[row])}</em>
              </span>
            ),
        )}
      </div>
    </div>
  );
}

/** Close the open menus that a test picks; whether there were any. */
function shutMenus(test: (menu: Element) => boolean): boolean {
  const open = [...document.querySelectorAll<HTMLDetailsElement>("details.menu[open]")].filter(test);
  for (const menu of open) menu.open = false;
  return open.length > 0;
}

const KEYS: [string, string][] = [
  ["1 … 9", "the views, in order"],
  ["j, k or ↓, ↑", "next and previous in the order of the table"],
  ["arrows in a scatter", "to the nearest point that way"],
  ["space", "select what is in focus, or deselect it"],
  ["a", "select all that is listed"],
  ["shift and drag", "draw around points"],
  ["shift, ctrl and click", "add to the selection"],
  ["+, −, 0", "zoom in a scatter"],
  ["/", "search"],
  ["t", "light or dark"],
  ["Esc", "leave the sample, then the selection"],
];

function Help({ views, close }: { views: string[]; close(): void }) {
  return (
    <div class="help" role="dialog" aria-label="keys" onClick={close}>
      <div>
        <h2>Keys</h2>
        <dl>
          {KEYS.map(([key, what]) => (
            <div key={key}>
              <dt>
                <kbd>{key}</kbd>
              </dt>
              <dd>
                {what}
                {key === "1 … 9" && `: ${views.join(", ")}`}
              </dd>
            </div>
          ))}
        </dl>
        <button onClick={close}>Close</button>
      </div>
    </div>
  );
}

function Mark() {
  return (
    <svg width="20" height="20" viewBox="0 0 20 20" aria-hidden="true">
      <circle cx="10" cy="10" r="8.2" fill="none" stroke="currentColor" stroke-width="1.6" />
      <path d="M10 1.5v5M10 13.5v5M1.5 10h5M13.5 10h5" stroke="currentColor" stroke-width="1.6" />
      <circle cx="10" cy="10" r="1.7" fill="currentColor" />
    </svg>
  );
}
