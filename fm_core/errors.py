"""The errors of this package, each declared once.

::

    FMError
    ├── ConfigError        a hyperparameter or setting is missing, unknown or out of range
    ├── DataError          a record, row or batch is not what was declared
    ├── DivergenceError    parameters are no longer finite
    ├── ResourceError      memory or disk does not suffice
    ├── ProcessGroupError  another host that trains the same model was lost, or failed
    └── ArtifactError      a model file is damaged, foreign, or of the wrong shape
        └── CheckpointError    a checkpoint belongs to another job or version, or none can be written
            └── DamagedCheckpointError    its bytes are not those that were written

A message is one sentence: what was found, what was expected, where, what to do. Names and values in it may be anyone's:
as text, an error is one harmless line of bounded length (fm_core/printable.py), whoever made the sentence.
"""

import errno

from fm_core.printable import printable

__all__ = [
    "ArtifactError",
    "CheckpointError",
    "ConfigError",
    "DamagedCheckpointError",
    "DataError",
    "DivergenceError",
    "FMError",
    "ProcessGroupError",
    "ResourceError",
    "RowsDoNotFitError",
    "is_exhausted",
]

#: System errors that say of files, memory or disk what a MemoryError says of memory.
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT)


#: Characters of a message.
_LONGEST = 2000


class FMError(Exception):
    """Base of every error that this package raises on purpose."""

    def __str__(self) -> str:
        return printable(super().__str__(), _LONGEST)


class ConfigError(FMError):
    """A hyperparameter or setting is missing, unknown or out of range."""


class DataError(FMError):
    """A record, row or batch is not what was declared."""


class DivergenceError(FMError):
    """Parameters are no longer finite."""


class ResourceError(FMError):
    """Memory or disk does not suffice."""


class RowsDoNotFitError(ResourceError):
    """Memory does not suffice for a solver that keeps all rows."""


class ProcessGroupError(FMError):
    """Another host that trains the same model was lost, or failed; `blame` is its own error message."""

    def __init__(self, sentence: str, blame: str | None = None) -> None:
        super().__init__(sentence)
        self.blame = blame


class ArtifactError(FMError):
    """A model file is damaged, foreign, or of the wrong shape."""


class CheckpointError(ArtifactError):
    """A checkpoint belongs to another job or version, or none can be written."""


class DamagedCheckpointError(CheckpointError):
    """The bytes of a checkpoint are not those that were written; an older one may be whole."""


def is_exhausted(error: BaseException) -> bool:
    """Return whether an error means that memory, disk space or file descriptors ran out.

    Parameters
    ----------
    error : BaseException

    Returns
    -------
    is_exhausted : bool
    """
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _EXHAUSTED)
