"""Compare two or more jobs: their metrics, curves and findings, and the hyperparameters that differ.

A job is a model's folder or .tar.gz as `fm train` writes it, the folder output/data of a SageMaker job, or the
metrics.json of either. `*` marks the best value of a metric. --html writes a page that also has the curves.

  fm report model_a model_b
  fm report model_a model_b --html compared.html
"""

import argparse
from pathlib import Path
from typing import Any

from fm_core.errors import ConfigError, FMError
from fm_core.printable import printable
from fm_core.small_json import object_of

__all__ = ["add_arguments", "run"]

_MOST_BYTES = 1 << 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fm report``."""
    parser.add_argument(
        "jobs", nargs="+", type=Path, metavar="JOB", help="a model's folder or .tar.gz, or a metrics.json"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write an HTML page")


def run(arguments: argparse.Namespace) -> None:
    """Compare."""
    from fm_core.report.comparison import MOST_JOBS, JobFacts, comparison_text, write_comparison

    if len(arguments.jobs) > MOST_JOBS:
        raise ConfigError(f"there are {len(arguments.jobs)} jobs, expected at most {MOST_JOBS}")
    names = _names(arguments.jobs)
    jobs = [
        JobFacts(name, _document(path), _hyperparameters(path))
        for name, path in zip(names, arguments.jobs, strict=True)
    ]
    if arguments.html is not None:
        write_comparison(arguments.html, jobs)
    for line in comparison_text(jobs).splitlines():
        print(printable(line, 1000))
    if arguments.html is not None:
        print(printable(f"wrote {arguments.html}", 1000))


def _names(paths: list[Path]) -> list[str]:
    """Return short names that distinguish the paths."""
    short = [path.parent.name if path.name == "metrics.json" and path.parent.name else path.name for path in paths]
    return short if len(set(short)) == len(paths) and all(short) else [str(path) for path in paths]


def _document(path: Path) -> dict[str, Any]:
    from fm_core.tabular.saved import METRICS_FILE, metrics_beside

    if not path.exists():
        raise ConfigError(f"{path}: there is no such file or folder")
    if path.is_file() and path.suffix == ".json":
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        try:
            found = object_of(text) if len(text) <= _MOST_BYTES else None
        except ValueError as error:
            raise ConfigError(f"{path} is not the {METRICS_FILE} of a job: {error}") from error
    else:
        found = metrics_beside(path)
    if not isinstance(found, dict) or not isinstance(found.get("epochs"), list):
        raise ConfigError(
            f"{path} holds no {METRICS_FILE} of a job, expected a model of `fm train`, or a job's output/data"
        )
    return found


def _hyperparameters(path: Path) -> dict[str, str]:
    from fm_core.artifact.model_file import read_meta

    try:
        return dict(read_meta(path)["training_parameters"])
    except (FMError, OSError):
        return {}  # of metrics.json alone they are not known
