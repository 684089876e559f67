"""Convert data files to RecordIO-protobuf, which training reads, and back."""

import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fm convert``."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files to read, and the file to write")


def run(arguments: argparse.Namespace) -> None:
    """Convert."""
