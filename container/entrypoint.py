"""The image's entry point: ``train`` (the default) or ``serve``.

SageMaker runs the image with one of the two words as its argument. Local mode of version 3 of the SDK trains without an
argument.
"""

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from container.stopping import StopRequest, end

__all__ = ["main", "program"]

_USAGE = """\
usage: factorization-machines [train | serve] [--help]

  train   train a model on the channels in the input folder (the default)
  serve   answer requests with the model in the model folder

`train --help` lists the hyperparameters.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the two verbs.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    status : int
        The exit code.
    """
    verb, *rest = (sys.argv[1:] if arguments is None else list(arguments)) or ["train"]
    if verb in ("-h", "--help"):
        print(_USAGE, end="")
        return 0
    # Each verb imports its own half only: training needs no web server. A signal that comes meanwhile has to be
    # heard: to the first process of a container, one without a handler is none.
    if verb == "train":
        stop = StopRequest()
        stop.install()
        from container.train import main as train

        return train(rest, stop)
    if verb == "serve":
        signal.signal(signal.SIGTERM, _leave)  # until the server has its own
        from container.serve import main as serve

        return serve(rest)
    print(f"unknown argument {verb!r}, expected train or serve\n\n{_USAGE}", end="", file=sys.stderr)
    return 2


def program() -> NoReturn:
    """Run as a program, and exit."""
    end(main())


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    program()
