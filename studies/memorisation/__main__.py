"""Which score finds the images that a model knows by heart, and where.

python -m studies.memorisation list       units, and which of them have been measured
python -m studies.memorisation run        measure what is missing; may be stopped at any time
python -m studies.memorisation collect    outcomes.json and docs/memorisation.md from what was measured
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

from studies.memorisation import outcomes, page
from studies.memorisation.measuring import measure, part_of, units


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.memorisation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("list", "run", "collect"))
    verb = parser.parse_args(arguments).verb
    if verb == "list":
        for unit in units():
            print("measured" if part_of(unit).exists() else "--------", unit)
    elif verb == "run":
        torch.set_num_threads(1)
        for unit in units():
            if not part_of(unit).exists():
                print(unit, flush=True)
                measure(unit)
    else:
        found = outcomes.collected()
        outcomes.write(found)
        page.write(found)
        print(f"{len(found['scores'])} rows in {outcomes.FILE.name}, {page.PAGE.name} written")


if __name__ == "__main__":
    main()
