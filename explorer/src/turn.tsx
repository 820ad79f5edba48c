// The live panel: a latent that one turns, and what the model makes of it.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Context } from "./context";
import { count, shown } from "./format";
import { Directions, Ends, Pad, Sample, Shot, Slider, Waiting } from "./handles";
import { HOME, useLine } from "./live";
import type { Answer, At, Chosen, Mode, Told, Way } from "./live";
import { Empty, Loading } from "./parts";

const STILL = 450;

export function Turn({ context }: { context: Context }) {
  const { frame, view, rows } = context;
  const row = view.focus ?? rows[0] ?? 0;
  const mode = (["directions", "line", "plane"].includes(view.more.mode ?? "") ? view.more.mode : "directions") as Mode;
  return (
    <div class="view scroll">
      <div class="controls">
        <label>
          Sample <Sample context={context} value={row} onChange={(next) => context.focus(next)} label="sample" />
        </label>
        <span class="segmented" role="radiogroup" aria-label="how it is turned">
          {(["directions", "line", "plane"] as Mode[]).map((name) => (
            <button
              key={name}
              role="radio"
              aria-checked={name === mode}
              class={name === mode ? "on" : ""}
              onClick={() => context.more("mode", name)}
            >
              {{ directions: "singular directions", line: "way to another", plane: "plane of three" }[name]}
            </button>
          ))}
        </span>
      </div>
      <Panel key={`${frame.run} ${row}`} context={context} row={row} mode={mode} />
    </div>
  );
}

function Panel({ context, row, mode }: { context: Context; row: number; mode: Mode }) {
  const { frame, rows, selected, view } = context;
  const unit = frame.unit(row);
  const others = useMemo(() => {
    const pool = [...selected, ...rows].filter((other) => other !== row);
    return [...new Set(pool)];
  }, [selected, rows, row]);
  const pick = (name: string, n: number) => {
    const stored = Number(view.more[name] ?? NaN);
    return Number.isInteger(stored) && stored >= 0 && stored < frame.rows ? stored : (others[n] ?? row);
  };
  const [first, second] = [pick("first", 0), pick("second", 1)];
  const [at, setAt] = useState<At>(HOME);
  const [chosen, setChosen] = useState<Chosen | null>(null);
  const [now, setNow] = useState<Answer | null>(null);
  const [numbers, setNumbers] = useState<Told[] | null>(null);
  const [measured, setMeasured] = useState<Answer | null>(null);
  const [way, setWay] = useState<Way | null>(null);
  const [curved, setCurved] = useState(false);
  const [error, setError] = useState("");
  const [note, setNote] = useState("");
  const [busy, setBusy] = useState("the model is opened");
  const line = useLine(setError, setBusy);

  const request = (next: At, bent: boolean) => {
    const base = { run: frame.run, unit };
    if (mode === "directions") return { ...base, moves: { leading: next.leading, trailing: next.trailing } };
    if (mode === "line")
      return { ...base, to: { unit: frame.unit(first), t: next.t, way: bent ? "geodesic" : "line" } };
    return { ...base, plane: { first: frame.unit(first), second: frame.unit(second), s: next.s, t: next.u } };
  };

  function choose(dense: boolean) {
    setBusy(dense ? "the whole Jacobian is taken" : "the model is opened, and its directions at this sample are found");
    line.now<{ model: string; others: number[]; error?: string }>({ do: "open" }, (opened) => {
      setNote(
        opened.others.includes(frame.run)
          ? `${opened.model} is another model than the one that this run measured.`
          : "",
      );
      line.now<Chosen>({ do: "choose", run: frame.run, unit, dense }, (answer) => {
        setChosen(answer);
        setNow(answer);
        stop(HOME);
      });
    });
  }

  const timer = useRef(0);
  const moves = useRef(0);
  function stop(next: At, bent = curved && way !== null) {
    clearTimeout(timer.current);
    const move = ++moves.current;
    timer.current = window.setTimeout(() => {
      setBusy("numbers are measured");
      line.instead<Answer>({ do: "measure", ...request(next, bent) }, (answer) => {
        if (move !== moves.current) return; // one moved on meanwhile
        setNow(answer);
        setNumbers(answer.numbers ?? null);
        setMeasured(answer);
      });
    }, STILL);
  }

  function move(next: At, bent = curved && way !== null) {
    setAt(next);
    setMeasured(null);
    line.latest<Answer>({ do: "turn", ...request(next, bent) }, (answer) => {
      setNow(answer);
      setNumbers(answer.numbers ?? null);
    });
    stop(next, bent);
  }

  useEffect(() => {
    choose(false);
    return () => clearTimeout(timer.current);
  }, []);
  useEffect(() => {
    if (chosen)
      move(
        { ...HOME, t: mode === "line" ? 0.5 : 0, s: mode === "plane" ? 0.33 : 0, u: mode === "plane" ? 0.33 : 0 },
        false, // the geodesic, if any, leads to the sample before
      );
    setWay(null);
    setCurved(false);
  }, [mode, first, second]);
  useEffect(() => {
    if (chosen && mode === "line") move(at);
  }, [curved]);

  if (error && !chosen) return <Empty>{error}</Empty>;
  if (!chosen) return <Loading what={busy || "the model is opened"} />;
  return (
    <div class="turn">
      <div class="stage">
        <Shot title={`${frame.title(row)}, turned`} src={now?.image} big />
        <Shot
          title={now && now.largest > 1e-9 ? `difference: grey none, ± ${brief(now.largest)}` : "difference: none yet"}
          src={now?.difference}
        />
        <Shot
          title={
            measured?.gain
              ? `gain by location: ${brief(measured.gain.low)} to ${brief(measured.gain.high)}${measured.gain.stderr > 0 ? `, ± ${Number(measured.gain.stderr.toPrecision(2))}` : ""}`
              : "gain by location: when you stop"
          }
          src={measured?.gain?.picture}
          flag={measured?.gain?.status}
        />
        <div class="reach">
          <p>
            <b>{now ? `${Number((100 * now.moved).toPrecision(2))} %` : "–"}</b> of the latent's length moved
          </p>
          <p>
            <b>{now ? brief(now.changed) : "–"}</b> RMS change of the output
          </p>
          <p class="note">
            {now ? `${Number((1 / Math.max(now.seconds, 1e-4)).toPrecision(2))} passes a second` : ""},{" "}
            {count(chosen.dimension)} latent entries
          </p>
          <p class="note" role="status">
            {busy ? <Waiting what={busy} /> : "measured"}
          </p>
        </div>
      </div>
      <div class="handles">
        {mode === "directions" && <Directions chosen={chosen} at={at} move={move} dense={() => choose(true)} />}
        {mode === "line" && (
          <fieldset>
            <legend>
              On the way to{" "}
              <Sample
                context={context}
                value={first}
                label="other sample"
                onChange={(next) => context.more("first", String(next))}
              />
            </legend>
            <Ends frame={frame} from={row} to={first} />
            <Slider label="t" value={at.t} low={-0.5} high={1.5} onMove={(t) => move({ ...at, t })} />
            <div class="controls">
              <label class="check">
                <input type="checkbox" checked={curved} disabled={!way} onChange={() => setCurved(!curved)} />
                along the geodesic
              </label>
              <button
                disabled={busy !== ""}
                onClick={() => {
                  setBusy("the geodesic is found");
                  line.now<Way>({ do: "way", run: frame.run, unit, to: frame.unit(first) }, (found) => {
                    setWay(found);
                    setCurved(true);
                  });
                }}
              >
                Find the geodesic
              </button>
              {way && (
                <small>
                  length {shown(way.length, way.stderr)} RMS, straight line {shown(way.straight)}, {way.status}
                </small>
              )}
            </div>
          </fieldset>
        )}
        {mode === "plane" && (
          <fieldset>
            <legend>
              Plane through this sample,{" "}
              <Sample
                context={context}
                value={first}
                label="second sample"
                onChange={(next) => context.more("first", String(next))}
              />{" "}
              and{" "}
              <Sample
                context={context}
                value={second}
                label="third sample"
                onChange={(next) => context.more("second", String(next))}
              />
            </legend>
            <Pad context={context} corners={[row, first, second]} at={at} move={move} />
            <Slider label="to the second" value={at.s} low={-0.5} high={1.5} onMove={(s) => move({ ...at, s })} />
            <Slider label="to the third" value={at.u} low={-0.5} high={1.5} onMove={(u) => move({ ...at, u })} />
          </fieldset>
        )}
        <button onClick={() => move(HOME)}>Back to the sample</button>
        <dl class="numbers" data-measured={measured !== null}>
          {numbers?.map((told) => (
            <div key={told.label} title={told.message}>
              <dt>
                {told.label} <small>{told.unit}</small>
              </dt>
              <dd>
                <span class="value">
                  {told.value === null ? "–" : shown(told.value, told.stderr)}
                  {told.status !== "ok" && <b class="flag">{told.status}</b>}
                </span>
              </dd>
            </div>
          )) ?? <p class="note">Numbers come when you stop: this model is too slow for them on the way.</p>}
        </dl>
        <p class="note">
          {measured
            ? `With their errors, from ${count(Math.max(0, ...(numbers ?? []).map((told) => told.passes)))} passes${measured.spent ? ` in ${measured.spent.toPrecision(2)} s` : ""}.`
            : numbers
              ? "A sketch while you move; errors narrow when you stop."
              : ""}
        </p>
        {note && (
          <p class="note">
            <b class="flag">another model</b> {note}
          </p>
        )}
        {error && <p class="warning">{error}</p>}
      </div>
    </div>
  );
}

function brief(value: number): string {
  return shown(Number(value.toPrecision(3)));
}
