"""What sharing the units of a run costs and gains: this process, worker processes, and nodes of a Ray cluster.

    python benchmarks/processes.py engines [--units 200] [--repeats 3] [--json FILE]
    python benchmarks/processes.py memory [--units 10000] [--json FILE]
    python benchmarks/processes.py --smoke

`engines` surveys latents of a small decoder with each engine in turn, and again, so that a busy machine slows all of
them alike: seconds and processor time a unit, once every worker has opened the model, and what comes before. The
processor time of all processes together says what an engine costs; it does not depend on what else runs. Nodes of Ray
are processes of this machine with one core each. `memory` surveys many latents in this process, and says how much
memory is resident meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import theodolite
from theodolite.runs import OnRay
from theodolite.runs.engine import Engine, ThisProcess
from theodolite.runs.workers import Processes

MODEL = "zoo:digits"


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    measured = _engines(options) if options.what == "engines" else _memory(options)
    result = {"what": options.what, "model": MODEL, **_circumstances(), **measured}
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", default="engines", choices=("engines", "memory"))
    parser.add_argument("--units", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--descriptors", default="local_scaling")
    parser.add_argument("--json")
    parser.add_argument("--smoke", action="store_true", help="a few units, once, without Ray")
    options = parser.parse_args()
    options.units = options.units or (12 if options.smoke else 200 if options.what == "engines" else 10_000)
    options.repeats = 1 if options.smoke else options.repeats
    return options


def _circumstances() -> dict[str, Any]:
    """When and where: the load at the start says how much of the machine others had."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f} at the start",
        "torch": torch.__version__,
    }


def _survey(out: Path, options: argparse.Namespace, engine: Engine, workers: int, progress: Callable[..., None]) -> Any:
    return theodolite.survey(
        MODEL,
        None,
        out,
        latents=f"seed:0..{options.units - 1}",
        limit=0,
        budget="quick",
        descriptors=options.descriptors.split(","),
        engine=engine,
        workers=workers,
        progress=progress,
    )


def _engines(options: argparse.Namespace) -> dict[str, Any]:
    """Every engine in turn, again and again; medians of each, and of its ratio to this process in the same turn."""
    turns: list[dict[str, dict[str, float]]] = []
    for repeat in range(options.repeats):
        turn = {}
        for name, (engine, workers, nodes) in _ways().items():
            if options.smoke and (nodes or workers > 1):
                continue
            with _cluster(nodes) as address:
                turn[name] = _timed(options, OnRay(address) if address else engine, workers)
            print(f"{repeat + 1}: {name}: {turn[name]}", flush=True)
        turns.append(turn)
    table = {name: _summary([turn[name] for turn in turns], [turn["this process"] for turn in turns]) for name in turn}
    _print(table)
    return {"units": options.units, "repeats": options.repeats, "turns": turns, "table": table}


def _ways() -> dict[str, tuple[Engine, int, int]]:
    """By name: the engine, how many workers, and how many nodes of Ray."""
    return {
        "this process": (ThisProcess(), 1, 0),
        "1 process": (Processes(), 1, 0),
        "2 processes": (Processes(), 2, 0),
        "Ray, 1 node": (OnRay(), 1, 1),
        "Ray, 2 nodes": (OnRay(), 2, 2),
    }


@contextmanager
def _cluster(nodes: int) -> Iterator[str]:
    """A cluster of so many nodes of one core each; the empty address where there are none."""
    if not nodes:
        yield ""
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            cluster.add_node(num_cpus=1)
        yield cluster.address
    finally:
        cluster.shutdown()


def _timed(options: argparse.Namespace, engine: Engine, workers: int) -> dict[str, float]:
    """Times of one run; a unit's are those after the first tenth, when every worker is at work."""
    skip = max(2 * workers, options.units // 10)
    clock: list[tuple[float, float, float]] = []

    def progress(done: int, total: int, what: str) -> None:
        if len(clock) <= done:
            together = _processor_time() if done in (skip, total) else 0.0  # looking costs milliseconds itself
            clock.append((time.monotonic(), time.process_time(), together))

    with tempfile.TemporaryDirectory() as folder:
        run = _survey(Path(folder) / "run", options, engine, workers, progress)
        own = [run._noted(unit)["seconds"] for unit in run.units[skip:]]
    count = len(clock) - 1 - skip
    each = [(end - begin) / count for begin, end in zip(clock[skip], clock[-1])]
    return {
        **dict(zip(("seconds", "CPU seconds of the conducting process", "CPU seconds of all processes"), each)),
        "seconds inside a worker": statistics.median(own),
        "start": clock[skip][0] - clock[0][0],
    }


def _processor_time() -> float:
    """Seconds of this process and of all that it has started, and these, as far as they run now."""
    parents, spent = {}, {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        parents[int(entry.parent.name)] = int(fields[1])
        spent[int(entry.parent.name)] = int(fields[11]) + int(fields[12])
    ticks, mine = 0, {os.getpid()}
    while mine:
        ticks += sum(spent[process] for process in mine)
        mine = {process for process, parent in parents.items() if parent in mine}
    return ticks / os.sysconf("SC_CLK_TCK")


def _summary(runs: list[dict[str, float]], alone: list[dict[str, float]]) -> dict[str, Any]:
    speeds = [b["seconds"] / a["seconds"] for a, b in zip(runs, alone)]
    medians = {name: round(statistics.median(run[name] for run in runs), 5) for name in runs[0]}
    return {**medians, "speed": round(statistics.median(speeds), 3), "speeds": speeds}


def _print(table: dict[str, dict[str, Any]]) -> None:
    print("| engine | times as fast | from | to | ms a unit | CPU ms a unit | of the conducting process | start, s |")
    print("|---|---|---|---|---|---|---|---|")
    for name, row in table.items():
        names = ("seconds", "CPU seconds of all processes", "CPU seconds of the conducting process")
        each, together, own = (f"{1000 * row[name]:.1f}" for name in names)
        speeds = f"{row['speed']:.2f} | {min(row['speeds']):.2f} | {max(row['speeds']):.2f}"
        print(f"| {name} | {speeds} | {each} | {together} | {own} | {row['start']:.1f} |")


def _memory(options: argparse.Namespace) -> dict[str, Any]:
    """Resident memory by the number of finished units, and at the end."""
    resident: dict[int, float] = {}
    step = max(1, options.units // 20)
    started = time.process_time()

    def progress(done: int, total: int, what: str) -> None:
        if done % step == 0 and done not in resident:
            resident[done] = _resident()
            print(f"{done}: {resident[done]:.1f} MiB, {time.process_time() - started:.0f} s of CPU", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        run = _survey(Path(folder) / "run", options, ThisProcess(), 1, progress)
        rows, at_end, seconds = len(run.table), _resident(), time.process_time() - started
    print(f"{rows} rows, {at_end:.1f} MiB at the end, {seconds:.0f} s of CPU")
    return {"units": options.units, "MiB by units": resident, "MiB at the end": at_end, "CPU seconds": seconds}


def _resident() -> float:
    """MiB of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
