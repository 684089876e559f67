"""`fm`: the command line. Sub-commands, one module for each subject.

A module of a sub-command has two functions: ``add_arguments(parser)``, which fills an
`argparse.ArgumentParser`, and ``run(arguments)``, which does the work. It is imported only
when its command is the one given, so that none pays for what another imports.
An `FMError` or an `OSError` that `run` raises is said in one line, with exit status 1.
"""

import argparse
import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import NamedTuple

from fm_core import __version__
from fm_core.errors import FMError
from fm_core.printable import printable

__all__ = ["COMMANDS", "Command", "main"]


class Command(NamedTuple):
    """Where a sub-command is, and what it is for in one line."""

    module: str
    help: str


COMMANDS: dict[str, Command] = {
    "catalogue": Command("fm_core.cli.catalogue", "write the items that an endpoint recommends"),
    "convert": Command("fm_core.cli.convert", "convert data files to RecordIO-protobuf and back"),
    "embeddings": Command("fm_core.cli.embeddings", "write the vectors of a model's features"),
    "explain": Command("fm_core.cli.explain", "say which features and pairs made a score"),
    "export": Command("fm_core.cli.export", "write a model for other programs, as ONNX"),
    "fold-in": Command("fm_core.cli.fold_in", "add users or items who came after training to a model, from their rows"),
    "inspect": Command("fm_core.cli.inspect", "say what is in a model"),
    "predict": Command("fm_core.cli.predict", "score the rows of a file"),
    "recommend": Command("fm_core.cli.recommend", "find the best items of a catalogue for the requests of a file"),
}

#: Characters of a sentence of refusal.
_LONGEST = 4000
_BY_SIGNAL = 128  # and the signal's number: as a shell says of a process that it ended


class _Terminated(BaseException):
    """SIGTERM came: what was begun is cleared away, as for SIGINT."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command; the arguments are those of the process unless given.

    Returns
    -------
    status : int
        0, or 1 after an error that was said, or 130 or 143 when interrupted or terminated. Bad arguments
        exit with 2, as argparse does.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="fm", description="Factorization Machines: convert data, inspect and use models"
    )
    parser.add_argument("--version", action="version", version=f"fm {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    chosen = None
    for name, command in COMMANDS.items():
        # Before a command there is nothing but options of `fm` itself, which has none but --help and --version.
        is_chosen = bool(given) and given[0] == name
        subparser = subparsers.add_parser(
            name, help=command.help, description=None, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if is_chosen:
            chosen = importlib.import_module(command.module)
            subparser.description = chosen.__doc__
            chosen.add_arguments(subparser)
    parsed = parser.parse_args(given)
    if chosen is None:
        parser.error("a command is needed")
    terminate_before = None
    with contextlib.suppress(ValueError):  # not the main thread: signals are somebody else's
        terminate_before = signal.signal(signal.SIGTERM, _terminate)
    try:
        chosen.run(parsed)
    except FMError as error:
        print(printable(f"fm {given[0]}: {error}", _LONGEST), file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing is left to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        print(printable(f"fm {given[0]}: {where}{error.strerror or error}", _LONGEST), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _BY_SIGNAL + signal.SIGINT
    except _Terminated:
        return _BY_SIGNAL + signal.SIGTERM
    finally:
        if terminate_before is not None:
            signal.signal(signal.SIGTERM, terminate_before)
    return 0


def _terminate(number: int, frame: object) -> None:
    raise _Terminated
