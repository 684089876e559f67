"""The command: `python -m tools.compare --base COMMIT`."""

import argparse
import collections
import concurrent.futures
import dataclasses
import fnmatch
import functools
import hashlib
import shutil
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tools.compare import commands, jobs, serving
from tools.compare.differences import Meant, difference
from tools.compare.sides import WORK, Side, both, fresh
from tools.compare.speed import compare_speed

#: The commit before every module moved to its room.
BEFORE = "6f779ad"

#: How many differences are shown; the others are named.
_SHOWN = 40

Left = dict[str, bytes]


@dataclasses.dataclass
class Tally:
    """What came of the cases of a group: how many, which differ, and by which rules of differences.py."""

    n: int = 0
    n_meant: int = 0
    wrong: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    met: list[Meant] = dataclasses.field(default_factory=list)

    def add(self, name: str, first: str | None, met: list[Meant]) -> None:
        """Take in one comparison."""
        self.n += 1
        self.met += met
        if first is not None:
            self.wrong.append((name, first))
        elif met:
            self.n_meant += 1


#: What the served and read models are learned from, by folder.
_MODELS = {
    "binary": jobs.Job("", ("binary.train.rec",)),
    "real": jobs.Job("", ("real.train.rec",), jobs.REAL),
    "dense": jobs.Job("", ("binary.train.dense.rec",), jobs.DENSE),
}


def main() -> int:
    """Compare, and say what was compared.

    Returns
    -------
    status : int
        1 if something differs that is not meant to.
    """
    parser = argparse.ArgumentParser(prog="python -m tools.compare", description=main.__doc__)
    parser.add_argument("--base", default=BEFORE, metavar="COMMIT", help="the earlier commit (default: %(default)s)")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="cases by name, such as 'job: fails*'")
    parser.add_argument("--speed", action="store_true", help="only compare the times of both")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of --speed (default: %(default)s)")
    options = parser.parse_args()
    base, tree = both(options.base)
    started = time.monotonic()
    inputs = _inputs(base)
    models = _models(base, inputs)
    if options.speed:
        return compare_speed(base, tree, models, options.rounds)
    found: dict[str, Tally] = {}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for case in _cases(base, inputs, models):
            if not fnmatch.fnmatch(f"{case.group}: {case.name}", options.only):
                continue
            case.prepare()
            sides = [dict(left) for left in pool.map(lambda side, run=case.run: list(run(side)), (base, tree))]
            tally = found.setdefault(case.group, Tally())
            for name in dict.fromkeys([*sides[0], *sides[1]]):
                tally.add(name, *difference(f"{case.group}: {name}", sides[0].get(name, {}), sides[1].get(name, {})))
    return _say(found, base, time.monotonic() - started)


@dataclasses.dataclass(frozen=True)
class Case:
    """Something that both sides run.

    Attributes
    ----------
    group, name : str
    run : callable
        Given a side, what it left: pairs of a name and its parts, one or several.
    prepare : callable
        Called once before.
    """

    group: str
    name: str
    run: Callable[[Side], Iterable[tuple[str, Left]]]
    prepare: Callable[[], object] = lambda: None


def _cases(base: Side, inputs: Path, models: Path) -> Iterator[Case]:
    begun = WORK / "begun"
    warm = jobs.Job("warm start", others={"model": (("model.tar.gz",), {})})
    for job in [*jobs.JOBS, warm]:
        yield Case("job", job.name, lambda side, job=job: [(job.name, jobs.run(job, side, inputs))])
    for job in jobs.CHECKPOINTS:
        yield Case(
            "checkpoint", job.name,
            lambda side, job=job: [(job.name, jobs.run(job, side, inputs, begun / "checkpoints"))],
            lambda job=job: jobs.interrupted(job, base, inputs, begun),
        )  # fmt: skip
    for name in commands.COMMANDS:
        yield Case("fm", name, lambda side, name=name: [(name, commands.command(name, side, inputs, models))])
    for name in commands.FITS:
        yield Case("estimator", name, lambda side, name=name: [(name, commands.fit_estimators(name, side, inputs))])
    for name, kind, model in (
        ("binary", "ids", "binary"), ("real", "ids", "real"), ("columns", "columns", "columns/model"),
        ("models", "models", ""),
    ):  # fmt: skip
        yield Case("request", name, functools.partial(_asked, name, kind, model, inputs, models))


def _asked(name: str, kind: str, model: str, inputs: Path, models: Path, side: Side) -> Iterator[tuple[str, Left]]:
    root = fresh(side.folder / "served")
    serving.lay_out_models(root, models, model)
    variables = {} if model else {"SAGEMAKER_MULTI_MODEL": "true"}
    for asked, answer in serving.ask(side, root, serving.requests_of(kind, inputs), **variables):
        yield f"{name}: {asked}", answer


def _inputs(base: Side) -> Path:
    """The folder of the data, made by the earlier commit."""
    maker = Path(__file__).with_name("inputs.py")
    folder = WORK / f"inputs-{base.root.name}-{hashlib.sha256(maker.read_bytes()).hexdigest()[:8]}"
    if not (folder / "sizes.json").exists():
        fresh(folder)
        done = base.run(str(maker), str(folder), folder=folder)
        assert done.returncode == 0, done.stderr.decode()
    return folder


def _models(base: Side, inputs: Path) -> Path:
    """Models that the earlier commit learns, and a table that it converts."""
    folder = fresh(WORK / "models")
    for name, job in _MODELS.items():
        left = jobs.run(job, base, inputs)
        (folder / name).mkdir()
        (folder / name / "model_algo-1").write_bytes(left["model/model_algo-1"])
    converted = commands.command("convert: table", base, inputs, folder)
    fresh(folder / "columns")
    for name in ("x.recordio", "schema.json"):
        (folder / "columns" / name).write_bytes(converted[name])
    dim = converted["stdout"].decode().partition("feature_dim is ")[2].split()[0].rstrip(".,;")
    shutil.copy(folder / "columns/x.recordio", inputs / "columns.rec")
    settings = jobs.REAL | {"feature_dim": dim}
    left = jobs.run(jobs.Job("", ("columns.rec",), settings), base, inputs)
    (folder / "columns/model").mkdir()
    (folder / "columns/model/model_algo-1").write_bytes(left["model/model_algo-1"])
    shutil.copy(folder / "columns/schema.json", folder / "columns/model")
    with tarfile.open(folder / "model.tar.gz", "w:gz") as archive:
        archive.add(folder / "binary/model_algo-1", "model_algo-1")
    shutil.copy(folder / "model.tar.gz", inputs)
    return folder


def _say(found: dict[str, Tally], base: Side, seconds: float) -> int:
    print(f"\n{base.root.name} and the working tree, {seconds:.0f} s\n")
    print("| what | compared | equal | differ as meant | differ |\n| --- | ---: | ---: | ---: | ---: |")
    for group, tally in found.items():
        counts = tally.n, tally.n - tally.n_meant - len(tally.wrong), tally.n_meant, len(tally.wrong)
        print(f"| {group} | " + " | ".join(map(str, counts)) + " |")
    met = collections.Counter(rule for tally in found.values() for rule in tally.met)
    if met:
        print("\n| times | part | meant to differ, because |\n| ---: | --- | --- |")
        for rule, n in met.items():
            print(f"| {n} | {rule.part} | {rule.reason} |")
    wrong = [(group, name, first) for group, tally in found.items() for name, first in tally.wrong]
    for group, name, first in wrong[:_SHOWN]:
        print(f"\n{group}: {name}\n  {first}")
    if len(wrong) > _SHOWN:
        print("\nand", ", ".join(f"{group}: {name}" for group, name, _ in wrong[_SHOWN:]))
    return 1 if any(tally.wrong for tally in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
