"""The two programs that are compared: an earlier commit, built in a folder of its own, and the working tree."""

import dataclasses
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

__all__ = ["Side", "blanked", "both", "entries_of", "fresh"]

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build/compare"


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes
    ----------
    name : {"base", "tree"}
        Of one length, so that paths in answers are too.
    root : Path
        The folder of its sources, and of its extensions.
    """

    name: str
    root: Path

    @property
    def folder(self) -> Path:
        """Where it works."""
        return WORK / "run" / self.name

    def environment(self, **variables: str) -> dict[str, str]:
        """What its processes get: nothing of whoever runs this but what finds programs."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        return kept | {"PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "2"} | variables

    def run(
        self, *command: str, folder: Path, seconds: float = 120, **variables: str
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run Python with these arguments to its end, in a folder."""
        return subprocess.run(
            [sys.executable, *command], cwd=folder, env=self.environment(**variables), timeout=seconds,
            stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip


def both(base: str) -> tuple[Side, Side]:
    """The two sides; the earlier commit is built unless it has been.

    Parameters
    ----------
    base : str
        A commit.
    """
    commit = subprocess.run(
        ["git", "rev-parse", "--short=7", f"{base}^{{commit}}"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
    root = WORK / commit
    if not (root / ".built").exists():
        print(f"building {commit} in {root.relative_to(ROOT)}, once", flush=True)
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
        subprocess.run(["tar", "--extract"], cwd=root, check=True, input=archive)
        subprocess.run([sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"], cwd=root, check=True)
        (root / ".built").touch()
    sides = Side("base", root), Side("tree", ROOT)
    for side in sides:
        fresh(side.folder)
        found = side.run("-c", "import fm_core; print(fm_core.__file__)", folder=side.folder).stdout.decode().strip()
        assert Path(found) == side.root / "fm_core/__init__.py", f"{side.name} runs {found}"
    return sides


def entries_of(model: bytes) -> bytes:
    """The entries of a model's file one after the other, without the hyperparameters that came later."""
    if not zipfile.is_zipfile(io.BytesIO(model)):
        return model
    with zipfile.ZipFile(io.BytesIO(model)) as archive:
        entries = [(name.encode(), archive.read(name)) for name in archive.namelist()]
    return b"".join(b"%b: %b\n" % (name, re.sub(rb', "(?:%b)": "[^"]*"' % _NEWER, b"", data)) for name, data in entries)


def fresh(folder: Path) -> Path:
    """Make an empty folder, in place of whatever it was."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


#: Hyperparameters that came after the base: configurations, and what models say of theirs, are compared without them.
_NEWER = "|".join(
    [
        *(
            "solver",
            "_bayes_method",
            "_wire_dtype",
            "early_stopping",
            "standardize",
            "feature_groups",
            "validation_fraction",
            "loss",
            "negatives",
            "negative_sampling",
        ),
        *("user_features", "item_features", "ranking_k", "relevance_threshold"),
    ]
).encode()

#: What no two runs have in common, and what stands for it.
_BLANKED = [
    (rb", '(?:%b)': '[^']*'" % _NEWER, b""),
    (rb"(?m)^\[\d\d/\d\d/\d{4} [\d:]{8} (\w+) \d+(?: [\w.]+:\d+)?\] ", rb"[\1] "),
    (rb"(?m)^\[\d{4}-\d\d-\d\d [\d:.]+\] ", rb"[T] "),
    (rb"(?m)^\[\d{4}-\d\d-\d\d [\d:]{8} [+-]\d{4}\] \[\d+\] ", rb"[T] "),
    (rb"Process \d+ is a worker", rb"Process N is a worker"),
    (rb'"(StartTime|EndTime)": [\d.e+]+', rb'"\1": T'),
    (rb'("[a-z.]*time": \{)[^}]*\}', rb"\1T}"),
    (rb'"duration": \d+', rb'"duration": T'),
    (rb"(Speed: |throughput=|Time cost=)[\d.e+]+", rb"\1R"),
    (rb"\b0x[0-9a-f]{9,}\b", rb"0xN"),
    (rb'"(seconds|records_per_second|to_first_batch|training|validation|test|milliseconds)": ?[\d.e+-]+', rb'"\1": T'),
    (rb'"time": ?"[^"]*"', rb'"time": T'),
    (rb'("status":[45]\d\d,.*"bytes_out":)\d+', rb"\1N"),  # how a refusal's sentence is wrapped
    (rb"and \d+ MiB are available", b"and M MiB are available"),
    (rb"\(pid: \d+\)", b"(pid: N)"),
    # Of a report: rates, and pictures, whose numbers metrics.json has too.
    (rb"(<dt>records a second</dt><dd>)[\d,]+", rb"\1R"),
    (rb"[\d,]+ records a second in training", b"R records a second in training"),
    (rb"(?s)<svg.*?</svg>", b"<svg>"),
]


def blanked(data: bytes, side: Side) -> bytes:
    """Text without what no two runs have in common."""
    for pattern, put in _BLANKED:
        data = re.sub(pattern, put, data)
    for folder, put in sorted(
        {side.folder: b"<folder>", WORK: b"<work>", side.root: b"<root>"}.items(), key=lambda item: -len(str(item[0]))
    ):
        data = data.replace(bytes(folder), put)
    return data
