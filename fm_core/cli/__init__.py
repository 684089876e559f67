"""`fm`: the command line. Sub-commands, one module for each subject.

A module of a sub-command has two functions: ``add_arguments(parser)``, which fills an
`argparse.ArgumentParser`, and ``run(arguments)``, which does the work, and may give an exit status. It is imported only
when its command is the one given, so that none pays for what another imports.
An `FMError`, an `OSError` or a `MemoryError` that `run` raises is said in one line, with exit status 1.

Packages add sub-commands by entry points of the group `GROUP`, whose names are those of the commands and whose values
are such modules: `fm serve` is such a one.
"""

import argparse
import contextlib
import difflib
import importlib
import importlib.metadata
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from fm_core import __version__
from fm_core.cli import completion
from fm_core.cli.output import whole_output
from fm_core.errors import ConfigError, FMError
from fm_core.printable import printable

__all__ = ["COMMANDS", "GROUP", "Command", "main"]


class Command(NamedTuple):
    """Where a sub-command is, and what it is for in one line."""

    module: str
    help: str


COMMANDS: dict[str, Command] = {
    "catalogue": Command("fm_core.cli.catalogue", "write the catalogue that an endpoint recommends from"),
    "convert": Command("fm_core.cli.convert", "convert data files to RecordIO-protobuf and back"),
    "embeddings": Command("fm_core.cli.embeddings", "write the vectors of a model's features"),
    "evaluate": Command("fm_core.cli.evaluate", "evaluate a model on the rows of a file"),
    "explain": Command("fm_core.cli.explain", "explain scores by features and pairs of features"),
    "export": Command("fm_core.cli.export", "export a model as ONNX, for other programs"),
    "fold-in": Command("fm_core.cli.fold_in", "add new users or items to a model, from their rows"),
    "inspect": Command("fm_core.cli.inspect", "show the contents of a model"),
    "predict": Command("fm_core.cli.predict", "score the rows of a file"),
    "recommend": Command("fm_core.cli.recommend", "recommend items of a catalogue for the requests in a file"),
    "report": Command("fm_core.cli.report", "compare jobs: hyperparameters and metrics"),
    "train": Command("fm_core.cli.train", "train a model from a table"),
}

#: Of entry points that add sub-commands, those that are known, and what each needs.
GROUP = "fm_core.commands"
_ADDED = {"serve": ("start an endpoint for a model", "factorization-machines-container")}

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
    if arguments is None:
        sys.excepthook = _tell_of_bug
    given = list(sys.argv[1:] if arguments is None else arguments)
    completed = completion.words() if arguments is None else None
    if completed is not None:
        given = completed
    parser = _Parser(prog="fm", description="Factorization Machines: train a model from a table, and use it")
    parser.add_argument("--version", action="version", version=f"fm {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    chosen = None
    for name, command in sorted((COMMANDS | _added()).items()):
        # Before a command there is nothing but options of `fm` itself, which has none but --help and --version.
        is_chosen = bool(given) and given[0] == name
        subparser = subparsers.add_parser(
            name, help=command.help, description=None, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if is_chosen:
            chosen = _imported(name, command)
            subparser.description = chosen.__doc__
            chosen.add_arguments(subparser)
    if completed is not None:
        completion.complete(parser)
    parsed = parser.parse_args(given)
    if chosen is None:
        parser.error("a command is needed")
    terminate_before = None
    with contextlib.suppress(ValueError):  # not the main thread: signals are somebody else's
        terminate_before = signal.signal(signal.SIGTERM, _terminate)
    try:
        with whole_output():
            return chosen.run(parsed) or 0
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
    except MemoryError as error:
        said = str(error) or "an allocation failed"
        print(printable(f"fm {given[0]}: not enough memory: {said}", _LONGEST), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _BY_SIGNAL + signal.SIGINT
    except _Terminated:
        return _BY_SIGNAL + signal.SIGTERM
    finally:
        if terminate_before is not None:
            signal.signal(signal.SIGTERM, terminate_before)


def _terminate(number: int, frame: object) -> None:
    raise _Terminated


def _tell_of_bug(kind: type[BaseException], error: BaseException, traced: Any) -> None:
    """Print the traceback of an error that is ours; what it quotes is anybody's text."""
    for line in "".join(traceback.format_exception(kind, error, traced)).rstrip("\n").split("\n"):
        print(printable(line, _LONGEST), file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """A parser that suggests the option or command that was probably meant."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, in a line or two, and exit with status 2."""
        names: list[str] = []
        for action in self._actions:
            names += action.option_strings or list(action.choices or ())
        wrong = re.findall(r"invalid choice: '([^']*)'|unrecognized arguments: (\S+)", message)
        for pair in wrong:
            close = difflib.get_close_matches((pair[0] or pair[1]).split("=")[0], names, 1)
            if close:
                message += f"; did you mean {close[0]}?"
        super().error(printable(message, _LONGEST))

    def parse_args(self, *given: Any, **named: Any) -> Any:
        """Parse arguments; those that are left over are said by the parser of the sub-command, which knows its own."""
        parsed, left = self.parse_known_args(*given, **named)
        if left:
            chosen = next((a.choices for a in self._actions if isinstance(a, argparse._SubParsersAction)), {})
            command = next((name for name in (given[0] if given else []) if name in chosen), None)
            owner = chosen[command] if command is not None else self
            owner.error(f"unrecognized arguments: {' '.join(left)}")
        return parsed


def _added() -> dict[str, Command]:
    """Give the sub-commands that other packages add."""
    found = {name: Command("", text) for name, (text, _) in _ADDED.items()}
    for point in importlib.metadata.entry_points(group=GROUP):
        found[point.name] = Command(point.value, _ADDED.get(point.name, (f"from {point.value}", ""))[0])
    return found


def _imported(name: str, command: Command) -> Any:
    """Import the module of a sub-command.

    One that is not installed says so when it is run.
    """
    try:
        if command.module:
            return importlib.import_module(command.module)
    except ModuleNotFoundError as error:
        if name not in _ADDED:
            raise
        found = str(error)
    else:
        found = "not installed"
    return _Missing(
        f"{found}, expected the package {_ADDED[name][1]} and what it needs: "
        "`python -m pip install ./container` in a checkout installs both"
    )


class _Missing:
    """A sub-command that is not installed."""

    def __init__(self, sentence: str) -> None:
        self.__doc__ = sentence
        self._sentence = sentence

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("anything", nargs="*")

    def run(self, arguments: argparse.Namespace) -> None:
        raise ConfigError(self._sentence)
