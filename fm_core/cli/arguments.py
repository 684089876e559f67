"""The arguments of every sub-command that reads rows, and the progress bar."""

import argparse
import contextlib
import re
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fm_core.errors import ConfigError
from fm_core.formats.hive import folders_left_out
from fm_core.formats.registry import Format, Role, format_of, formats_for
from fm_core.printable import printable, quoted

if TYPE_CHECKING:
    from fm_core.formats.registry.inputs import Options

__all__ = [
    "add_fitting_arguments",
    "add_input_arguments",
    "add_text_arguments",
    "column_list",
    "feature_range",
    "input_options",
    "progress_bar",
    "source",
    "text_options",
    "warn_of_folders",
]


def source(text: str) -> Path:
    """The path of a file that is read, as argparse's `type`: a dash is standard input."""
    return Path("/dev/stdin" if text == "-" else text)


def warn_of_folders(paths: Sequence[Path], of: Format) -> None:
    """Say which folders above files of feature ids would be columns of tables."""
    left_out = None if of.is_table else folders_left_out(map(str, paths))
    if left_out is not None:
        print(printable(f"{paths[0]}: {left_out}", 1000), file=sys.stderr)


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options for reading files of rows."""
    group = parser.add_argument_group("input")
    group.add_argument(
        "--from", metavar="FORMAT", dest="from_format", choices=formats_for(Role.READ),
        help="format of the input files (default: by their names)",
    )  # fmt: skip
    group.add_argument("--feature-dim", metavar="N", type=int, help="number of features, if known")
    group.add_argument(
        "--first-id", metavar="N", type=int, choices=(0, 1), default=0,
        help="id of the first feature in libsvm and libFM text, 0 or 1 (default: 0)",
    )  # fmt: skip
    group.add_argument("--schema", metavar="FILE", type=Path, help="schema.json to encode the columns with")
    group.add_argument(
        "--unseen", choices=("error", "ignore"), default="error", help="what to do with categories not in the schema"
    )
    group = parser.add_argument_group("columns of a table without a schema")
    group.add_argument("--label", metavar="COLUMN", help="the column to predict")
    group.add_argument("--no-label", action="store_true", help="the data has no label")
    group.add_argument("--weight", metavar="COLUMN", help="column of row weights")
    for name, text in {
        "categorical": "columns of categories: a feature for each text",
        "numeric": "columns of numbers",
        "ignore": "columns to leave out",
    }.items():
        group.add_argument(f"--{name}", metavar="A,B", type=column_list, action="extend", default=[], help=text)
    group.add_argument(
        "--hashed", metavar="A:N", action="append", default=[], help="a column whose texts are hashed to N features"
    )
    group.add_argument(
        "--several",
        metavar="A:SEP",
        action="append",
        default=[],
        help="a column with several ids in a cell, between SEP",
    )
    group.add_argument("--sparse", action="store_true", help="sparse rows, even if every column is numeric")
    group.add_argument(
        "--missing", choices=("error", "zero"), default="error", help="how to treat empty cells of a numeric column"
    )
    add_fitting_arguments(parser)
    add_text_arguments(parser)


#: Options that are of use where columns are made fit to learn from, and what they are where nothing is said.
_FITTING: dict[str, Any] = {
    "bins": [], "scale": [], "log": [], "date": [], "no_moments": False, "weights": [], "min_count": 2,
    "max_categories": None, "positive": None,
}  # fmt: skip


def add_fitting_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that set the features of columns."""
    group = parser.add_argument_group("features of columns (--fit; chosen from the data by default)")
    group.add_argument("--bins", metavar="A:N", action="append", default=[], help="a column of numbers in N bins")
    for name, text in {
        "scale": "columns of numbers, scaled to mean 0 and standard deviation 1",
        "log": "columns of numbers, scaled after log(1 + x)",
        "date": "columns of dates or times",
    }.items():
        group.add_argument(f"--{name}", metavar="A,B", type=column_list, action="extend", default=[], help=text)
    group.add_argument(
        "--no-moments", action="store_true", help="no features for moments and half hours of dates that rows share"
    )
    group.add_argument(
        "--weights", metavar="A:SEP", action="append", default=[],
        help="a column of several ids, each followed by SEP and its value",
    )  # fmt: skip
    group.add_argument(
        "--min-count", metavar="N", type=int, default=2, help="texts in fewer rows share one feature (default: 2)"
    )
    group.add_argument("--max-categories", metavar="N", type=int, help="hash columns with more texts (default: 500000)")
    group.add_argument("--positive", metavar="CLASS", help="which of two classes is label 1 (default: the greater one)")


def add_text_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options for reading delimited text."""
    group = parser.add_argument_group("csv and tsv")
    header = group.add_mutually_exclusive_group()
    header.add_argument("--header", action="store_true", default=None, help="the first line names the columns")
    header.add_argument(
        "--no-header", dest="header", action="store_false",
        help="the first line is a row (default: a header if no cell is a number)",
    )  # fmt: skip
    group.add_argument("--delimiter", metavar="C", help="character between cells")
    quotes = group.add_mutually_exclusive_group()
    quotes.add_argument("--quotes", action="store_true", default=None, help="cells may be quoted")
    quotes.add_argument(
        "--no-quotes", dest="quotes", action="store_false",
        help="quotes are ordinary characters (default: cells may be quoted, unless ambiguous)",
    )  # fmt: skip
    group.add_argument(
        "--encoding", metavar="NAME", help="text encoding, such as latin-1, cp1252 or utf-16 (default: utf-8)"
    )


def text_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Give the options that these arguments are.

    Raises
    ------
    ConfigError
        One is none.
    """
    if arguments.delimiter is not None and (len(arguments.delimiter) != 1 or not arguments.delimiter.isascii()):
        raise ConfigError(f"--delimiter is {arguments.delimiter!r}, expected one ASCII character")
    if arguments.encoding is not None:
        try:
            "".encode(arguments.encoding)
        except (LookupError, UnicodeError):
            raise ConfigError(
                f"--encoding is {quoted(arguments.encoding)}, expected a name such as latin-1, cp1252 or utf-16"
            ) from None
    return {name: getattr(arguments, name) for name in ("header", "delimiter", "quotes", "encoding")}


def input_options(arguments: argparse.Namespace, *, needs_label: bool = False) -> "Options":
    """Make options of parsed arguments.

    Parameters
    ----------
    arguments : argparse.Namespace
    needs_label : bool
        Whether a table without a schema must have its label named, or be said to have none.

    Raises
    ------
    ConfigError
        Arguments contradict each other, or one is no option.
    """
    from fm_core.formats.registry.inputs import Options
    from fm_core.formats.tables.learner import TablePlan
    from fm_core.formats.tables.schema import TableSchema

    warn_of_folders(arguments.inputs, format_of(arguments.inputs[0], arguments.from_format))
    if arguments.label is not None and arguments.no_label:
        raise ConfigError("--label and --no-label exclude each other: give one")
    schema = None
    if arguments.schema is not None:
        schema = TableSchema.load(arguments.schema)
        for name in (
            "label",
            "weight",
            "categorical",
            "numeric",
            "ignore",
            "hashed",
            "several",
            "sparse",
            "fit",
            *_FITTING,
        ):
            if getattr(arguments, name, False) not in (_FITTING.get(name), None, False, []):
                raise ConfigError(f"--{name} and --schema exclude each other: the schema defines the columns")
    elif (
        needs_label
        and arguments.label is None
        and not arguments.no_label
        and format_of(arguments.inputs[0], arguments.from_format).is_table
    ):
        raise ConfigError("the label column is not given: use --label, or --no-label")
    fit = getattr(arguments, "fit", False)
    for name, default in {} if fit else _FITTING.items():
        if getattr(arguments, name) != default:
            raise ConfigError(f"--{name.replace('_', '-')} needs --fit: without it, columns are taken as they are")
    for name in ("min_count", "max_categories"):
        if getattr(arguments, name) is not None and getattr(arguments, name) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} is {getattr(arguments, name)}, expected 1 or more")
    labels = "optional"
    if arguments.no_label:
        labels = "none"
    elif arguments.label is not None:
        labels = "real"
    return Options(
        feature_dim=arguments.feature_dim,
        first_key=arguments.first_id,
        labels=labels,
        plan=TablePlan(
            label=arguments.label,
            weight=arguments.weight,
            categorical=arguments.categorical,
            numeric=arguments.numeric,
            ignored=arguments.ignore,
            hashed={name: _count("--hashed", name, text) for name, text in map(_pair("--hashed"), arguments.hashed)},
            several=dict(map(_pair("--several"), arguments.several)),
            sparse=arguments.sparse,
            missing=arguments.missing,
            fit=fit,
            bins={name: _count("--bins", name, text) for name, text in map(_pair("--bins"), arguments.bins)},
            scaled=arguments.scale,
            log=arguments.log,
            dates=arguments.date,
            moments=not arguments.no_moments,
            weights=dict(map(_pair("--weights"), arguments.weights)),
            min_count=arguments.min_count,
            most_categories=arguments.max_categories,
            positive=arguments.positive,
            predictor_type=getattr(arguments, "predictor_type", None),
        ),
        schema=schema,
        unseen=arguments.unseen,
        **text_options(arguments),
        progress=progress_bar(not getattr(arguments, "quiet", False)),
    )


def feature_range(text: str) -> tuple[int, int | None]:
    """Read a part of the features: ``943:2625``; either end may be left out."""
    if not re.fullmatch("[0-9]{0,10}:[0-9]{0,10}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no part such as 943:2625")
    first, last = text.split(":")
    return int(first or 0), int(last) if last else None


def progress_bar(wanted: bool = True) -> Any:
    """Give what shows progress: a bar on a terminal, if tqdm is installed, else nothing.

    Returns
    -------
    progress : callable
        ``progress(what, total)`` is a context manager whose value has ``update(n)``; see
        fm_core.formats.registry.inputs.Options.
    """

    def progress(what: str, total: int) -> AbstractContextManager[Any]:
        if wanted and sys.stderr.isatty():
            with contextlib.suppress(ImportError):
                from tqdm import tqdm

                bar: AbstractContextManager[Any] = tqdm(
                    desc=what, total=total, unit="B", unit_scale=True, leave=False, file=sys.stderr
                )
                return bar
        return contextlib.nullcontext(_Silent())

    return progress


class _Silent:
    def update(self, n: int) -> None:
        """Show nothing."""


def column_list(text: str) -> list[str]:
    """Read names between commas."""
    return [name for name in text.split(",") if name]


def _pair(option: str) -> Any:
    def split(text: str) -> tuple[str, str]:
        # The separator itself may be a colon.
        name, colon, value = text.partition(":")
        if not (name and colon and value):
            raise ConfigError(f"{option} is {text!r}, expected a column, a colon and what belongs to it")
        return name, value

    return split


def _count(option: str, name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 10 and int(text) > 0):
        what = "features" if option == "--hashed" else option.removeprefix("--")
        raise ConfigError(f"{option} {name}:{text} does not end with a number of {what}, expected 1 or more")
    return int(text)
