"""Train a model on a table, and print how good it is on rows that were held out.

Files are tables (csv, tsv, parquet or arrow) or rows of feature ids (libsvm, libfm, npz or recordio). For tables,
--label names the column to predict. The encoding of each column is chosen from the data and printed; options override
it. OUT gets the model, schema.json, metrics.json and report.html. It is a folder, or one file if it ends in .tar.gz.

  fm train sales.csv --label bought --out model
  fm train 2023.parquet 2024.parquet --label price --out model.tar.gz --time-column sold_at
  zcat clicks.csv.gz | fm train - --from csv --label click --out model --group user_id
"""

import argparse
import time
from pathlib import Path
from typing import Any

from fm_core.cli.arguments import add_input_arguments, input_options, source
from fm_core.cli.output import Sayer, refuse_inputs
from fm_core.cli.understood import understood
from fm_core.resources import usable_cores

__all__ = ["add_arguments", "run"]

#: Options that are hyperparameters of their own name.
_HYPERPARAMETERS = {
    "solver": (str, "auto, bayes, minibatch or online (default: auto)"),
    "num_factors": (int, "factors of each feature (default: 16 to 64, depending on columns and rows)"),
    "epochs": (int, "passes over the data (default: as many as needed)"),
    "seed": (int, "seed of all random numbers (default: 0)"),
}
_PREDICTORS = {"class": "binary_classifier", "number": "regressor"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fm train``."""
    parser.add_argument(
        "inputs", nargs="+", metavar="TABLE", type=source, help="files of one format (-: standard input)"
    )
    parser.add_argument("--out", "-o", metavar="OUT", type=Path, required=True, help="output folder, or a .tar.gz file")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing model")
    add_input_arguments(parser)
    group = parser.add_argument_group("held-out rows")
    group.add_argument(
        "--holdout",
        metavar="SHARE",
        type=float,
        default=0.1,
        help="share of the rows to hold out, or 0 for none (default: 0.1)",
    )
    group.add_argument("--time-column", metavar="COLUMN", help="hold out the latest rows by this column")
    group.add_argument("--group", metavar="COLUMN", help="hold out whole groups: rows equal in this column")
    group = parser.add_argument_group("training")
    group.add_argument(
        "--predict", choices=_PREDICTORS, help="predict a class or a number (default: a class if there are two labels)"
    )
    for name, (kind, text) in _HYPERPARAMETERS.items():
        group.add_argument(f"--{name.replace('_', '-')}", metavar="N" if kind is int else "NAME", type=kind, help=text)
    group.add_argument(
        "--positive-class-weight", metavar="W", type=_class_weight,
        help="weight of rows with label 1; balanced: equal total weight of both labels (default: 1)",
    )  # fmt: skip
    group.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="set any hyperparameter of docs/reference/hyperparameters.md",
    )
    group.add_argument("--num-threads", metavar="N", type=int, help="threads of the solver (default: one per core)")
    parser.add_argument("--no-report", action="store_true", help="do not write report.html")
    parser.add_argument("--quiet", action="store_true", help="print only errors")


def run(arguments: argparse.Namespace) -> None:
    """Train."""
    from fm_core.cli.progress import Progress
    from fm_core.tabular.figures import figures_text
    from fm_core.tabular.holdout import HoldOut
    from fm_core.tabular.job import Job, read_rows, save_trained, train
    from fm_core.tabular.saved import check_free

    arguments.fit = True
    say: Any = (lambda text: None) if arguments.quiet else Sayer()
    refuse_inputs(arguments.out, *arguments.inputs)
    check_free(arguments.out, overwrite=arguments.overwrite)
    job = Job(
        HoldOut(arguments.holdout, arguments.seed or 0, arguments.time_column, arguments.group),
        _hyperparameters(arguments),
        arguments.num_threads or usable_cores(),
        _PREDICTORS.get(arguments.predict),
    )
    options = input_options(arguments, needs_label=True)
    read = read_rows(arguments.inputs, arguments.from_format, options, job)
    if read.schema is not None:
        for line in understood(read.schema):
            say(line)
    say(
        f"{read.learned.n_rows:,} rows to learn from, {read.held_out.n_rows:,} held out {job.holdout.words}; "
        f"{read.learned.feature_dim:,} features"
    )
    started = time.monotonic()
    trained = train(read, job, None if arguments.quiet else Progress(say))
    names = save_trained(arguments.out, trained, overwrite=arguments.overwrite, report=not arguments.no_report)
    say(f"learned in {time.monotonic() - started:.1f} s")
    if trained.figures:
        some = "" if trained.n_scored == read.held_out.n_rows else f"{trained.n_scored:,} of "
        say(f"on {some}the {read.held_out.n_rows:,} rows that were held out{', evenly spaced' if some else ''}:")
        for line in figures_text(trained.figures, is_classifier=trained.model.is_classifier):
            say(line)
    for sentence in trained.findings:
        say(f"note: {sentence}")
    say(f"{arguments.out}: {', '.join(names)}")


def _class_weight(text: str) -> float | str:
    if text == "balanced":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor balanced") from None


def _hyperparameters(arguments: argparse.Namespace) -> dict[str, Any]:
    """Give the hyperparameters that arguments name.

    Raises
    ------
    ConfigError
        One is none, or its text is no value.
    """
    from fm_core.errors import ConfigError
    from fm_core.hyperparameter_text import from_texts
    from fm_core.hyperparameters import parameters

    texts = {}
    for pair in arguments.set:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set is {pair[:60]!r}, expected NAME=VALUE")
        texts[name] = value
    known = parameters()
    for name in texts:
        if name not in known or name in ("feature_dim", "predictor_type"):
            import difflib

            close = difflib.get_close_matches(name, known, 1)
            meant = f", did you mean {close[0]}?" if close else ""
            raise ConfigError(f"--set names {name[:60]!r}, which is not a hyperparameter that can be set{meant}")
    try:
        values = from_texts(texts)
    except ValueError as error:
        raise ConfigError(f"--set: {error}") from error
    of_options = [*_HYPERPARAMETERS, "positive_class_weight"]
    said = {name: getattr(arguments, name) for name in of_options if getattr(arguments, name) is not None}
    return {name: values[name] for name in texts if name in values} | said
