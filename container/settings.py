"""Every environment variable, parsed once into frozen settings.

Training and serving read different variables, so each has its own class; nothing else
in this package looks at the environment.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from fm_core.errors import ConfigError

__all__ = ["TrainingSettings", "opt_ml"]


def opt_ml(environ: Mapping[str, str]) -> Path:
    """The root of SageMaker's tree: ``FM_OPT_ML``, by default ``/opt/ml``."""
    return Path(environ.get("FM_OPT_ML") or "/opt/ml")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What the environment tells a training job.

    Attributes
    ----------
    root : Path
        ``FM_OPT_ML``.
    job_name : str
        ``TRAINING_JOB_NAME``, set by SageMaker; empty elsewhere.
    pipe_wait_seconds : float
        ``FM_PIPE_WAIT_SECONDS``: how long a FIFO may take to appear, to be opened by its
        writer, or to deliver its next bytes.
    omp_num_threads : int or None
        ``OMP_NUM_THREADS``: an upper bound of the threads that are used.
    """

    root: Path = Path("/opt/ml")
    job_name: str = ""
    pipe_wait_seconds: float = 1800.0
    omp_num_threads: int | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "TrainingSettings":
        """Parse the environment.

        Raises
        ------
        ConfigError
            A variable holds something else than it should; the message names it.
        """
        return cls(
            root=opt_ml(environ),
            job_name=environ.get("TRAINING_JOB_NAME", ""),
            pipe_wait_seconds=_seconds(environ, "FM_PIPE_WAIT_SECONDS", cls.pipe_wait_seconds),
            omp_num_threads=_omp_num_threads(environ),
        )


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name)
    if not text:
        return default
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) or float(text) == 0:
        raise ConfigError(
            f"environment variable {name} is {text!r}, expected a number of seconds above 0, such as 1800"
        )
    return float(text)


def _omp_num_threads(environ: Mapping[str, str]) -> int | None:
    # OpenMP admits a list, one number for each level of nesting, and ignores what it cannot read.
    first = environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if re.fullmatch(r"[1-9][0-9]{0,8}", first) else None
