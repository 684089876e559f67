"""main() of ``train``: its arguments, its signals, its log, and its exit code.

It alone decides how a job ends: 0 with a model, also after a stop request;
1 with the reason in output/failure, and no model. Only it catches all exceptions;
container/training/run.py does the job itself.
"""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from container.environment import opt_ml
from container.stopping import StopRequest, end
from container.training import log_lines as lines
from container.training.failure import fail
from container.training.job import Paths
from container.training.log import Progress, emit, set_up_logging
from container.training.run import run
from container.training.settings import TrainingSettings

__all__ = ["main", "program"]


def main(arguments: Sequence[str] | None = None, stop: StopRequest | None = None) -> int:
    """Train a model as SageMaker asks for it.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process: none, ``train`` once more, or ``--help``.
    stop : StopRequest, optional
        One that hears signals already; by default one that does from now on.

    Returns
    -------
    status : int
        The exit code.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments:
        from container.training.help import argument_parser  # not needed to train

        argument_parser().parse_args(arguments)
    if stop is None:
        stop = StopRequest()
        stop.install()
    progress = Progress(sys.stdout)
    set_up_logging(sys.stdout, progress)
    emit([lines.start_line()])
    paths = Paths(opt_ml(os.environ))
    status = 0
    try:
        run(paths, TrainingSettings.from_environment(os.environ), stop, progress)
    except Exception as error:
        fail(paths.failure, error)
        status = 1
    finally:
        stop.ignore_more()
    return status


def program() -> NoReturn:
    """Be the program `train`."""
    end(main())


if __name__ == "__main__":
    program()
