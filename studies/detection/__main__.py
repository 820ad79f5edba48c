"""Off the manifold of a real decoder: is it told by geometry, better than by numbers that cost less?

python -m studies.detection run        measure both models; may be stopped, and goes on where it was
python -m studies.detection collect    outcomes.json and docs/real_decoders.md from what was measured
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

import theodolite
from studies.detection import outcomes, page
from studies.detection.kinds import write_images
from studies.detection.outcomes import MODELS, PARTS, run_of
from studies.prediction.data import shared


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.detection", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("run", "collect"))
    if parser.parse_args(arguments).verb == "run":
        torch.set_num_threads(1)
        reference, test = write_images(PARTS / "images")
        options = {"size": 32, "budget": "quick", "limit": 0, "seed": 0}
        for name in MODELS:
            theodolite.detect(str(shared() / "models" / name), str(reference), str(test), out=run_of(name), **options)
    else:
        found = outcomes.collected()
        outcomes.write(found)
        page.write(found)
        print(f"{len(found['kinds'])} comparisons in {outcomes.FILE.name}, {page.PAGE.name} written")


if __name__ == "__main__":
    main()
