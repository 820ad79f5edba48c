"""Run a golden command and say what came of it in a canonical record; `--write` stores the records beside this file.

    python tests/golden/capture.py --write [NAME ...]

A record holds no time, path or version: it is the same on every machine, up to the last digits of numbers. Everything
that knows the layout of a run folder's tables stands in `numbers` and the functions of one kind that it calls.
"""

from __future__ import annotations

import json
import pathlib
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from cases import REFUSALS, RUNS, prepare
from click.testing import CliRunner, Result
from outline import outline_of
from PIL import Image
from safetensors.numpy import load_file

from theodolite.cli.main import main

__all__ = ["HERE", "numbers", "record_of", "refusals_of", "stored"]

HERE = pathlib.Path(__file__).parent
Number = list[Any]  # value, stderr, status, n, passes; without the empty ones at the end
Row = Mapping[str, Any]
# Curves of a ranking have 44 noise levels for every space, quantity and denoiser; every sixth keeps the file small.
CURVE_STRIDE = 6
_MASKS = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[^\s\"]*"), "<time>"),
    (re.compile(r"\d+:\d\d:\d\d"), "<duration>"),
    (re.compile(r"\b[0-9a-f]{16}\b"), "<fingerprint>"),
)


# ---- numbers: the one layer that knows how tables are laid out ----------------------------------------------------


def numbers(run: pathlib.Path) -> dict[str, Number]:
    """Every number of a run folder by its coordinates, e.g. `sample=a|map=decoder|quantity=local_scaling`.

    Numbers of arrays are held by the root mean square of their finite entries, which no sign of a singular vector
    changes.
    """
    kind = json.loads((run / "run.json").read_text()).get("kind", "survey")
    return _merged(_KINDS[kind](run), _of_arrays(run))


def _kit(run: pathlib.Path) -> dict[str, Number]:
    """The one long table of a run: its coordinates without the unit, which follows from them."""
    rows = _rows(run, "quantities")
    own = ("unit", "model", "quantity", "value", "stderr", "low", "high", "n", "passes", "status")
    return _long(
        [{**row, "passes": row["passes"] or None} for row in rows], [name for name in rows[0] if name not in own]
    )


def _survey(run: pathlib.Path) -> dict[str, Number]:
    return _long(_rows(run, "quantities"), ("sample", "map", "sigma"))


def _rank(run: pathlib.Path) -> dict[str, Number]:
    """Curves over noise by the number of their level, thinned; whole numbers by model or pair."""
    rows = [{**row, "space": _masked(row["space"] or "") or None} for row in _rows(run, "quantities")]
    levels: dict[tuple[Any, ...], int] = {}
    thinned = []
    for row in rows:
        if row["tau"] is None:
            continue
        curve = (row["space"], row["quantity"], row["denoiser"])
        levels[curve] = levels.get(curve, -1) + 1
        if levels[curve] % CURVE_STRIDE == 0:
            thinned.append({**row, "level": levels[curve]})
    whole = [{**row, "passes": row["passes"] or None} for row in rows if row["tau"] is None]
    return _merged(
        _long(whole, ("space", "first", "second", "steps", "part", "seed")),
        _long(thinned, ("space", "denoiser", "level"), more=("tau", "t")),
    )


def _table(run: pathlib.Path) -> dict[str, Number]:
    """Every number of the one table of a run, by the coordinates of its experiment.

    The interval is held too of what follows from several units, where it need not be value ± 1.96 stderr.
    """
    rows = _rows(run, "quantities")
    names = list(rows[0])
    coordinates = [name for name in names[: names.index("quantity")] if name not in ("unit", "model")]
    derived = [row for row in rows if row["unit"] is None]
    measured = [row for row in rows if row["unit"] is not None]
    return _merged(_long(measured, coordinates), _long(derived, coordinates, more=("low", "high")))


def _decouple(run: pathlib.Path) -> dict[str, Number]:
    coordinates = ("unit", "condition", "claim", "beside", "part", "pair")
    verdicts = _wide(_rows(run, "claims"), ("id",), ("n", "verdict"))
    return _merged(_long(_rows(run, "quantities"), coordinates, more=("low", "high")), verdicts)


def _traverse(run: pathlib.Path) -> dict[str, Number]:
    rows = _rows(run, "quantities")
    own = ("unit", "quantity", "value", "stderr", "low", "high", "passes", "n", "status")
    return _long(rows, [name for name in rows[0] if name not in own], more=("low", "high"))


def _phases(run: pathlib.Path) -> dict[str, Number]:
    fields = ("potential", "log_determinant", "largest_eigenvalue", "region", "boundary", "ridge")
    return _merged(
        _long(_rows(run, "quantities"), ("level", "curve", "kind")),
        _wide(_rows(run, "cells"), ("level", "first", "second"), fields),
    )


def _guide(run: pathlib.Path) -> dict[str, Number]:
    return _long(_rows(run, "quantities"), ("reward", "rho", "sigma"))


_KINDS: dict[str, Callable[[pathlib.Path], dict[str, Number]]] = {
    "survey": _kit,
    "rank": _rank,
    "diffusability": _rank,
    "floor": _kit,
    "compare": _kit,
    "detect": _table,
    "decouple": _decouple,
    "sample": _table,
    "hotspots": _table,
    "traverse": _traverse,
    "phases": _phases,
    "path": _kit,
    "guide": _guide,
}


def _rows(run: pathlib.Path, table: str) -> list[dict[str, Any]]:
    return pq.read_table(run / f"{table}.parquet").to_pylist()


def _long(rows: Iterable[Row], coordinates: Iterable[str], more: Iterable[str] = ()) -> dict[str, Number]:
    """Numbers of rows with a quantity and its value; each of the columns `more` is a number of its own."""
    entries: dict[str, Number] = {}
    for row in rows:
        key = _key(row, (*coordinates, "quantity"))
        _put(entries, key, _number(*(row.get(name) for name in ("value", "stderr", "status", "n", "passes"))))
        for column in more:
            _put(entries, f"{key}.{column}", _number(row[column]))
    return entries


def _wide(rows: Iterable[Row], coordinates: Iterable[str], columns: Iterable[str]) -> dict[str, Number]:
    """Numbers of rows with several quantities, `X` beside its `X_stderr` and `X_status`."""
    entries: dict[str, Number] = {}
    for row in rows:
        for column in columns:
            stderr = row.get(f"{column}_stderr", row.get("stderr") if column in ("value", "difference") else None)
            number = _number(row[column], stderr, row.get(f"{column}_status", row.get("status")))
            _put(entries, f"{_key(row, coordinates)}|quantity={column}", number)
    return entries


def _merged(*parts: Mapping[str, Number]) -> dict[str, Number]:
    entries: dict[str, Number] = {}
    for part in parts:
        for key, number in part.items():
            _put(entries, key, number)
    return entries


def _key(row: Row, coordinates: Iterable[str]) -> str:
    values = ((name, row.get(name)) for name in coordinates)
    return "|".join(f"{name}={_short(value)}" for name, value in values if value is not None)


def _put(into: dict[str, Number], key: str, number: Number) -> None:
    assert key not in into, f"two numbers have the coordinates {key}"
    into[key] = number


def _number(*parts: Any) -> Number:
    number = [_short(part) for part in parts]
    while len(number) > 1 and number[-1] is None:
        number.pop()
    return number


def _short(value: Any) -> Any:
    """Eight significant digits; JSON knows no NaN or infinity, which become words."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.8g}") if np.isfinite(value) else str(value)


def _of_arrays(run: pathlib.Path) -> dict[str, Number]:
    entries: dict[str, Number] = {}
    for name, array in _arrays(run):
        finite = array[np.isfinite(array)].astype(np.float64)
        rms = float(np.sqrt(np.mean(finite**2))) if finite.size else None
        entries[f"array={name}|quantity=rms"] = _number(rms)
    return entries


def _arrays(run: pathlib.Path) -> list[tuple[str, np.ndarray]]:
    """Arrays by file and name; models whose masked fingerprints are alike are told apart by a number."""
    counts: dict[str, int] = {}
    arrays = []
    for file in sorted(run.rglob("*.safetensors")):
        for key, array in sorted(load_file(file).items()):
            name = f"{_masked(file.relative_to(run).as_posix())}:{_masked(key)}"
            counts[name] = counts.get(name, 0) + 1
            arrays.append((name if counts[name] == 1 else f"{name}#{counts[name]}", array))
    return arrays


# ---- the rest of a record -----------------------------------------------------------------------------------------


def record_of(name: str, folder: pathlib.Path) -> dict[str, Any]:
    """What the golden command `name` prints and leaves, run in the empty folder `folder`."""
    folders, out = prepare(folder, RUNS[name]), folder / "out"
    arguments = [word.format(**folders) for word in RUNS[name].split()]
    result = _call(*arguments, "--out", out)
    info = json.loads((out / "run.json").read_text())
    return {
        "terminal": _terminal(result, folders, out) | {"show": _terminal(_call("show", out), folders, out)},
        "run.json": _key_paths(info),
        "settings": _masked_tree({**info["settings"], "command": info["command"]}, folders, out),
        "show --json": _key_paths(json.loads(_call("show", out, "--json").stdout)),
        "tables": _tables(out),
        "files": _files(out),
        "page": outline_of((out / "report.html").read_text()),
        "numbers": numbers(out),
    }


def refusals_of(verb: str, folder: pathlib.Path) -> dict[str, list[Any]]:
    """Exit code, stderr, and whether anything was left, of every mistake that `verb` refuses."""
    folders, entries = prepare(folder, " ".join(REFUSALS[verb])), {}
    for index, words in enumerate(REFUSALS[verb]):
        out = folder / f"out-{index}"
        arguments = [word.format(**folders) for word in words.split()]
        before = _contents(folder)
        result = _call(*verb.split(), *arguments, *(() if "--out" in arguments else ("--out", out)))
        left = out.exists() or _contents(folder) != before
        answer = _terminal(result, folders, out)
        entries[words] = [
            answer["exit"],
            answer["stdout"],
            answer["stderr"],
            "something left" if left else "nothing left",
        ]
    return entries


def _contents(folder: pathlib.Path) -> dict[pathlib.Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _call(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words], prog_name="theodolite")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def _terminal(result: Result, folders: Mapping[str, str], out: pathlib.Path) -> dict[str, Any]:
    answer = {name: _lines(getattr(result, name), folders, out) for name in ("stdout", "stderr")}
    return {"exit": result.exit_code, **answer}


def _lines(text: str, folders: Mapping[str, str], out: pathlib.Path) -> list[str]:
    """Lines without the rules of tables and the widths of columns, which follow from the numbers' digits."""
    spaced = (" ".join(line.replace("─", " ").split()) for line in _masked(text, folders, out).splitlines())
    return [line for line in spaced if line]


def _masked(text: str, folders: Mapping[str, str] | None = None, out: pathlib.Path | None = None) -> str:
    for path, name in [(out, "out"), *((path, name) for name, path in (folders or {}).items())]:
        text = text.replace(str(path), f"<{name}>") if path else text
    for pattern, name in _MASKS:
        text = pattern.sub(name, text)
    return text


def _masked_tree(tree: Any, folders: Mapping[str, str], out: pathlib.Path) -> Any:
    return json.loads(_masked(json.dumps(tree, ensure_ascii=False), folders, out))


def _leaves(tree: Any, path: str = "", items: bool = True) -> Iterable[tuple[str, Any]]:
    """Paths of a JSON tree and their values; `items` numbers the items of lists, otherwise they are all `[]`."""
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from _leaves(value, f"{path}.{key}" if path else key, items)
    elif isinstance(tree, list) and tree:
        for index, value in enumerate(tree):
            yield from _leaves(value, f"{path}[{index if items else ''}]", items)
    else:
        yield path, _short(tree) if not isinstance(tree, (dict, list)) else None


def _key_paths(tree: Any) -> list[str]:
    return sorted({path for path, _ in _leaves(tree, items=False)})


def _tables(run: pathlib.Path) -> dict[str, Any]:
    entries = {}
    for file in sorted(run.rglob("*.parquet")):
        table = pq.read_table(file)
        columns = [f"{field.name}: {field.type}" for field in table.schema]
        entries[file.relative_to(run).as_posix()] = {"rows": table.num_rows, "columns": columns}
    return entries


def _files(run: pathlib.Path) -> dict[str, Any]:
    """Names of all files; pictures with width and height, arrays with dtype and shape."""
    entries: dict[str, Any] = {}
    for file in sorted(path for path in run.rglob("*") if path.is_file()):
        name = _masked(file.relative_to(run).as_posix())
        if file.suffix == ".png":
            with Image.open(file) as picture:
                entries[name] = list(picture.size)
        elif file.suffix != ".safetensors":
            entries[name] = None
    for name, array in _arrays(run):
        entries[name] = [str(array.dtype), *array.shape]
    return entries


# ---- the stored records -------------------------------------------------------------------------------------------


def stored(name: str) -> dict[str, Any]:
    """The record that `--write` stored under `name`."""
    return json.loads((HERE / f"{name}.json").read_text())


def _pretty(tree: Any, indent: int = 0) -> str:
    """JSON with one line for every list of plain values, and a line for each long one's items."""
    if isinstance(tree, dict) and tree:
        items = (f"{json.dumps(key, ensure_ascii=False)}: {_pretty(value, indent + 1)}" for key, value in tree.items())
        return "{" + ",".join(f"\n{' ' * (indent + 1)}{item}" for item in items) + "\n" + " " * indent + "}"
    line = json.dumps(tree, ensure_ascii=False)
    if not isinstance(tree, list) or len(line) < 100:
        return line
    items = (_pretty(value, indent + 1) for value in tree)
    return "[" + ",".join(f"\n{' ' * (indent + 1)}{item}" for item in items) + "\n" + " " * indent + "]"


def _write(names: Iterable[str]) -> None:
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            if name == "refusals":
                record: dict[str, Any] = {}
                for verb in REFUSALS:
                    (pathlib.Path(folder) / verb).mkdir()
                    record[verb] = refusals_of(verb, pathlib.Path(folder) / verb)
            else:
                record = record_of(name, pathlib.Path(folder))
        (HERE / f"{name}.json").write_text(_pretty(record) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] != ["--write"]:
        sys.exit(__doc__)
    import torch

    torch.set_num_threads(1)  # as the tests run
    _write(sys.argv[2:] or [*RUNS, "refusals"])
