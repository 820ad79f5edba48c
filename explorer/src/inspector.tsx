// What is known of the sample in focus, and of what is selected.
import type { Context } from "./context";
import { count } from "./format";
import { useColumns } from "./hooks";
import { Bar, Difference, NAMES, Overlay, Picture, Thumbnail, Value, opacityOf, picturesOf, plusMinus } from "./parts";
import { extent } from "./state";

export function Inspector({ context }: { context: Context }) {
  const { frame, view, selected } = context;
  return (
    <aside class="inspector" aria-label="Details">
      {view.focus === null ? <Overview context={context} /> : <Sample context={context} row={view.focus} />}
      {selected.size > 0 && (
        <section>
          <h3>{count(selected.size)} selected</h3>
          <div class="chosen">
            {[...selected].slice(0, 60).map((row) => (
              <button key={row} class="bare" title={frame.title(row)} onClick={() => context.focus(row)}>
                {frame.about.album && frame.ofSamples ? (
                  <Thumbnail frame={frame} row={row} size={40} />
                ) : (
                  <small>{frame.title(row)}</small>
                )}
              </button>
            ))}
            {selected.size > 60 && <small>and {count(selected.size - 60)} more</small>}
          </div>
        </section>
      )}
    </aside>
  );
}

function Sample({ context, row }: { context: Context; row: number }) {
  const { frame, rows, selected, view } = context;
  const names = frame.about.frame.columns.map((column) => column.name).slice(0, 80);
  const columns = useColumns(frame, names);
  const unit = frame.unit(row);
  const pictures = picturesOf(frame, unit);
  const about = frame.about.frame.keys.filter((key) => key.name !== "unit" && key.name !== "file");
  const canDiffer = pictures.includes("") && pictures.includes("reconstruction") && !pictures.includes("difference");
  const step = (by: number) =>
    context.focus(rows[Math.min(rows.length - 1, Math.max(0, rows.indexOf(row) + by))] ?? row);
  return (
    <section>
      <div class="heading">
        <h2>{frame.title(row)}</h2>
        <span class="buttons">
          <button class="quiet" aria-label="previous" title="previous (k)" onClick={() => step(-1)}>
            ‹
          </button>
          <button class="quiet" aria-label="next" title="next (j)" onClick={() => step(1)}>
            ›
          </button>
          <button class="quiet" aria-label="close" title="close (Esc)" onClick={() => context.focus(null)}>
            ×
          </button>
        </span>
      </div>
      {about.map(
        (key) =>
          frame.keys.get(key.name)?.[row] !== null && (
            <p class="about" key={key.name}>
              <span>{key.name}</span> {String(frame.keys.get(key.name)?.[row] ?? "")}
            </p>
          ),
      )}
      {pictures.length > 0 && (
        <div class="shots">
          {pictures.map((name) => (
            <figure key={name}>
              <Picture frame={frame} unit={unit} name={name} alt={`${frame.title(row)}, ${NAMES[name] ?? name}`} />
              <figcaption>{NAMES[name] ?? name}</figcaption>
            </figure>
          ))}
          {canDiffer && (
            <figure>
              <Difference frame={frame} unit={unit} />
              <figcaption>difference × 4</figcaption>
            </figure>
          )}
          {frame.about.maps.map((map, n) => (
            <figure key={map.name} title={map.meaning}>
              <Overlay frame={frame} row={row} map={n} opacity={opacityOf(view.more)} />
              <figcaption>{map.label}</figcaption>
            </figure>
          ))}
        </div>
      )}
      <div class="buttons">
        <button onClick={() => context.select([row], "toggle")}>{selected.has(row) ? "Deselect" : "Select"}</button>
        {context.live && frame.about.hasLatents && (
          <button class="main" onClick={() => context.go({ view: "turn" })}>
            Turn its latent
          </button>
        )}
      </div>
      <dl class="numbers">
        {columns?.map(
          (column) =>
            column &&
            (column.status[row] as number) >= 0 && (
              <div key={column.name}>
                <dt title={[column.info?.meaning, column.info?.formula].filter(Boolean).join("\n")}>{column.label}</dt>
                <dd>
                  <Value column={column} row={row} frame={frame} />
                </dd>
                <Bar column={column} row={row} ends={extent(column, rows)} />
              </div>
            ),
        )}
      </dl>
      <p class="note">Bars: where this one stands among the {count(rows.length)} listed, with its 95 % interval.</p>
    </section>
  );
}

function Overview({ context }: { context: Context }) {
  const { about } = context.frame;
  const state = about.status === "complete" ? "" : ` (${about.status}: ${about.finished} of ${about.wanted} units)`;
  return (
    <section>
      <h2>{about.name}</h2>
      <p class="about">
        <span>{about.kind}</span> {about.models.join(", ")}
        {state}
      </p>
      {about.failed.length > 0 && (
        <details class="warning">
          <summary>{about.failed.length} failed</summary>
          {about.failed.map((entry, n) => (
            <p key={n}>
              {entry.unit} {entry.what}: {entry.reason}
            </p>
          ))}
        </details>
      )}
      {about.overall.length > 0 && (
        <>
          <h3>Of the run as a whole</h3>
          <dl class="numbers">
            {about.overall.slice(0, 40).map((entry, n) => (
              <div key={n}>
                <dt>
                  {entry.label}
                  {entry.where && <small> {entry.where}</small>}
                </dt>
                <dd>
                  <span class="value">
                    {plusMinus(entry.value, entry.stderr)}
                    {entry.status !== "ok" && <b class="flag">{entry.status}</b>}
                  </span>
                </dd>
              </div>
            ))}
          </dl>
        </>
      )}
      {Object.keys(about.messages).length > 0 && (
        <details>
          <summary>What the estimators say</summary>
          {Object.entries(about.messages).map(([name, text]) => (
            <p key={name}>
              <b>{name}</b> {text}
            </p>
          ))}
        </details>
      )}
      <details open={about.overall.length === 0 && innerWidth > 860}>
        <summary>How it was made</summary>
        <dl class="facts">
          {Object.entries(about.facts).map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        </dl>
        {about.notes.map((note, n) => (
          <p key={n}>{note}</p>
        ))}
        <pre>{about.command}</pre>
      </details>
      <p class="note">
        Choose a sample in any view to see its numbers and pictures. <kbd>?</kbd> lists the keys.
      </p>
    </section>
  );
}
