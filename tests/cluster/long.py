"""Jobs of several hosts at random moments of which something happens: long forms of test_patience.py and test_stops.py.

    .venvs/torch/bin/python -m tests.cluster.long pauses [--tries 40] [--seed 0]
    .venvs/torch/bin/python -m tests.cluster.long cuts
    .venvs/torch/bin/python -m tests.cluster.long stops

Each try is printed with what was drawn, and what became of it; the exit code is the number of tries that failed.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.cluster.moments import cut, paused, plain_model, stopped

FORMS = {"pauses": paused, "cuts": cut, "stops": stopped}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=FORMS)
    parser.add_argument("--tries", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw, failed = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory(prefix="fm_moments_") as name:
        folder = Path(name)
        expected = plain_model(folder / "plain") if options.what != "stops" else None
        for n in range(options.tries):
            try:
                said = FORMS[options.what](folder / f"try{n}", draw, n, expected)
            except AssertionError as error:
                failed += 1
                said = f"FAILED: {error}"
            print(f"{n + 1:3} {said}", flush=True)
    print(f"{options.tries - failed} of {options.tries} as promised")
    return failed


if __name__ == "__main__":
    sys.exit(main())
