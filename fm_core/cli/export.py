"""Write a model for other programs: an ONNX file, for Java, C++, C#, Rust or a browser.

The graph takes `indices` (int64) and `values` (float32), both of shape (rows, entries), and gives `scores`. Pad a
row with fewer features than others with any index, such as 0, and the value 0.

  fm export model model.onnx
"""

import argparse
from pathlib import Path

from fm_core.artifact.model_file import load_model
from fm_core.artifact.onnx_export import save_onnx
from fm_core.cli.output import refuse_inputs
from fm_core.errors import ConfigError
from fm_core.printable import printable

__all__ = ["EXPORTS", "add_arguments", "run"]

#: Endings of names, and what writes such a file.
EXPORTS = {".onnx": save_onnx}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fm export``."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="model_algo-1, its folder, or model.tar.gz")
    parser.add_argument("output", type=Path, metavar="FILE", help=f"ends in {' or '.join(EXPORTS)}")


def run(arguments: argparse.Namespace) -> None:
    """Write the file."""
    output = arguments.output
    if output.suffix not in EXPORTS:
        raise ConfigError(f"{output} ends in {output.suffix or 'nothing'!r}, expected one of {', '.join(EXPORTS)}")
    refuse_inputs(output, arguments.model)
    EXPORTS[output.suffix](output, load_model(arguments.model))
    print(printable(f"{output}: {output.stat().st_size:,} bytes"))
