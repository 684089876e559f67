"""Convert data files to RecordIO-protobuf, which training reads, and back.

The name of a file determines its format: .recordio .libsvm .libfm .csv .tsv .parquet .arrow
.npz; recordio and the text formats also with .gz. Columns of tables (csv, tsv, parquet,
arrow) become features by a schema, which is written to schema.json next to the output; with
--schema it encodes new rows in the same way. Columns are given by name, or by number from 0.
Columns that no option names are numeric if they hold numbers, else categorical.

  fm convert ratings.csv ratings.recordio --label rating --categorical user,item
  fm convert clicks.csv clicks.recordio --label clicked --fit
  fm convert new.csv new.recordio --schema schema.json --unseen ignore
  fm convert train.libsvm train.recordio --split 0.8 --shards 4
  fm convert train.recordio train.csv.gz
  fm convert likes.csv likes.recordio --no-label --negatives 4 --user user --items film,genres
"""

import argparse
from pathlib import Path

from fm_core.cli.arguments import add_input_arguments, input_options, source
from fm_core.cli.output import refuse_inputs
from fm_core.cli.understood import understood
from fm_core.errors import ConfigError
from fm_core.formats.registry import Role, formats_for
from fm_core.printable import printable

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fm convert``."""
    parser.add_argument("inputs", nargs="+", metavar="IN", type=source, help="files of one format; -: standard input")
    parser.add_argument("output", metavar="OUT", type=Path, help="file to write")
    add_input_arguments(parser)
    group = parser.add_argument_group("output")
    group.add_argument(
        "--to", metavar="FORMAT", choices=formats_for(Role.WRITE), help="format of OUT (default: by its name)"
    )
    group.add_argument("--shards", metavar="N", type=_positive, default=1, help="divide the rows into N files")
    group.add_argument("--split", metavar="SHARE", type=_share, help="write .train and .test; SHARE goes to .train")
    group.add_argument("--seed", metavar="N", type=int, default=0, help="seed of random choices (default: 0)")
    group.add_argument("--threshold", metavar="X", type=float, help="make labels of at least X 1, others 0")
    group.add_argument(
        "--schema-out", metavar="FILE", type=Path, help="output file of the schema (default: schema.json)"
    )
    group.add_argument(
        "--fit", action="store_true", help="choose features for columns: bins, parts of dates, rare texts grouped"
    )
    group.add_argument(
        "--negatives", metavar="N", type=_positive, help="after each positive, add N rows with other items, label 0"
    )
    group.add_argument("--user", metavar="COLUMN", help="for --negatives: the users' column, or 0:943")
    group.add_argument("--items", metavar="A,B", help="for --negatives: the items' columns, the id first")
    group.add_argument(
        "--negative-sampling",
        choices=("uniform", "popularity"),
        default="uniform",
        help="how to draw items (default: uniform)",
    )
    group.add_argument("--quiet", action="store_true", help="print no progress and no summary")


def run(arguments: argparse.Namespace) -> None:
    """Convert, and print what was written."""
    from fm_core.formats.convert.conversion import Conversion, convert

    conversion = Conversion(
        to=arguments.to,
        shards=arguments.shards,
        split=arguments.split,
        seed=arguments.seed,
        threshold=arguments.threshold,
        first_key=arguments.first_id,
        schema_path=arguments.schema_out,
    )
    for path in (arguments.output, arguments.schema_out):
        refuse_inputs(path, *arguments.inputs)
    options = input_options(arguments, needs_label=True)
    rows_of = None
    if arguments.negatives is not None:
        from fm_core.cli.negatives import rows_with_negatives

        rows_of = rows_with_negatives(arguments)
    elif arguments.user is not None or arguments.items is not None:
        raise ConfigError("--user and --items need --negatives: give it, or remove them")
    written, feature_dim, schema = convert(
        arguments.inputs, arguments.output, conversion, arguments.from_format, options, rows_of
    )
    if arguments.quiet:
        return
    for file in written:
        print(printable(f"{file.path}: {file.n_rows} rows, {file.n_bytes} bytes"))
    print(f"feature_dim is {feature_dim}")
    if schema is not None and arguments.schema is None:
        path = arguments.schema_out or arguments.output.with_name("schema.json")
        print(printable(f"{path}: {len(schema.columns)} columns"))
        for line in understood(schema):
            print(line)


def _positive(text: str) -> int:
    number = int(text)
    if not 0 < number <= 10000:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to 10000")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return number
