"""What it costs to install the project and to start it.

Starting: each program in turn, round after round, in processes of their own, in processor time. The time of Python
itself is subtracted from that of imports. Installing (--install, some minutes): `make develop` in a fresh clone of HEAD
without ccache, and `pip install` of the library's wheel into a new environment, in wall-clock and processor time.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import ROOT, describe, in_turn, table

BIN = Path(sys.executable).parent
NOTHING = "python -c pass"
#: What is started, and what the project aims at, ms.
STARTS = {
    NOTHING: ([sys.executable, "-c", "pass"], None),
    "import fm_core": ([sys.executable, "-c", "import fm_core"], 20),
    "fm --help": ([str(BIN / "fm"), "--help"], 150),
    "fm --version": ([str(BIN / "fm"), "--version"], None),
    "fm train --help": ([str(BIN / "fm"), "train", "--help"], None),
    "import container.serve": ([sys.executable, "-c", "import container.serve"], None),
    "import container.train": ([sys.executable, "-c", "import container.train"], None),
}


def starting(command: list[str]) -> Callable[[], float]:
    return lambda: taken(command, ROOT)[1]


def taken(command: list[str], folder: Path) -> tuple[float, float]:
    """Seconds by the clock, and of the processors, that a command takes."""
    environment = {name: value for name, value in os.environ.items() if name not in ("CC", "MAKEFLAGS", "MFLAGS")}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, used


def install(folder: Path) -> list[list[str]]:
    """Rows of the table of installing."""
    clone = folder / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    rows = [["make develop", *(f"{each:.1f}" for each in taken(["make", "develop"], clone)), "75, 120"]]
    make = [str(clone / ".venv/bin/python"), "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "dist", "."]
    rows.append(["pip wheel .", *(f"{each:.1f}" for each in taken(make, clone)), ""])
    subprocess.run([sys.executable, "-m", "venv", folder / "new"], check=True)
    (wheel,) = (clone / "dist").glob("factorization_machines-*.whl")
    pip = [str(folder / "new/bin/python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", str(wheel)]
    rows.append(["pip install WHEEL", *(f"{each:.1f}" for each in taken(pip, clone)), "15"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true", help="also measure the installation")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    describe("Installing and starting")
    found = in_turn({name: starting(command) for name, (command, _) in STARTS.items()}, options.rounds)
    bare = statistics.median(found[NOTHING])
    print(f"{options.rounds} rounds in turn; of an import, without the {1e3 * bare:.0f} ms of Python itself\n")
    rows = []
    for name, seconds in found.items():
        least = bare if name.startswith("import") else 0
        median = 1e3 * (statistics.median(seconds) - least)
        rows.append([name, f"{median:.0f}", f"{1e3 * (min(seconds) - least):.0f}", STARTS[name][1] or ""])
    table(["", "median, ms", "least", "aim"], rows)
    if options.install:
        folder = Path(tempfile.mkdtemp(prefix="fm_startup_"))
        try:
            table(["", "seconds", "of the processors", "aim"], install(folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
