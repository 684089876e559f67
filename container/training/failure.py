"""How a failed job reports its reason: who has to act, and one sentence, in the log and in output/failure.

An error of a class that is not in `BLAME` is a bug of this project, and its traceback is logged. A step after the model
has been saved does not fail the job (`survived`): an error in the test data, the report or the last checkpoint does not
lose a trained model.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from fm_core.atomic_file import atomic_write
from fm_core.errors import ArtifactError, CheckpointError, FMError, ProcessGroupError
from fm_core.printable import printable

__all__ = ["blame", "described", "fail", "survived", "write_failure"]

#: Who has to act on an error, the most specific class counts; any other class is a bug of ours.
BLAME = {
    ArtifactError: "AlgorithmError",
    CheckpointError: "ClientError",
    FMError: "ClientError",
    ProcessGroupError: "AlgorithmError",  # a machine or the network, unless another host said something else
    MemoryError: "ClientError",
    OSError: "AlgorithmError",  # a disk or a mount, not the user and not us
}

#: SageMaker shows so much of output/failure.
FAILURE_CHARACTERS = 1024

_log = logging.getLogger(__name__)


def blame(error: BaseException) -> str | None:
    """Who has to act on an error; None: it is a bug of ours."""
    if isinstance(error, ProcessGroupError) and error.blame:
        return error.blame
    return next((BLAME[kind] for kind in type(error).__mro__ if kind in BLAME), None)


def described(error: BaseException) -> tuple[str, str]:
    """Who has to act on an error, and a sentence about it."""
    who = blame(error)
    if who:
        return who, str(error) or "there is not enough memory"
    return "AlgorithmError", f"{type(error).__name__}: {error}; this is a bug, its traceback is in the log"


def fail(path: Path, error: Exception) -> None:
    """Say why the job failed, in the log and in the failure file at `path`."""
    text = ": ".join(described(error))
    # the place that is said is the caller's: train.py, as in the built-in's log
    _log.error("%s", text, exc_info=error if blame(error) is None else None, stacklevel=2)
    try:
        write_failure(path, text)
    except OSError as unwritten:
        _log.error("The reason could not be written to %s: %s", path, unwritten)


@contextlib.contextmanager
def survived(consequence: str, told: Callable[[str], None] = lambda sentence: None) -> Iterator[None]:
    """Let the job continue if the block fails: the model is saved already, or another error is being raised.

    Parameters
    ----------
    consequence : str
        What is missing then, such as "The test channel was not scored"; it begins the line in the log.
    told : callable
        Gets the sentence of the error.
    """
    try:
        yield
    except Exception as error:
        sentence = described(error)[1]
        _log.error("%s: %s", consequence, sentence, exc_info=error if blame(error) is None else None)
        told(sentence)


def write_failure(path: Path, text: str) -> None:
    """Write why the job failed: one line, at most 1024 characters, complete or not at all."""
    text = printable(" ".join(text.split()))
    if len(text) > FAILURE_CHARACTERS:
        text = f"{text[: FAILURE_CHARACTERS - 1]}…"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(text.encode())
