"""What both verbs share of the environment: where the tree lies, and how a variable's text is parsed.

The variables themselves are parsed once into frozen settings, training's and serving's each in its own
settings.py; nothing else in this package looks at the environment.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from fm_core.errors import ConfigError

__all__ = ["TrainingSettings", "boolean", "integer", "opt_ml", "seconds"]


def opt_ml(environ: Mapping[str, str]) -> Path:
    """The root of SageMaker's tree: ``FM_OPT_ML``, by default ``/opt/ml``."""
    return Path(environ.get("FM_OPT_ML") or "/opt/ml")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What the environment tells a training job, besides where its tree lies.

    Attributes
    ----------
    pipe_wait_seconds : float
        ``FM_PIPE_WAIT_SECONDS``: how long a FIFO may take to appear, to be opened by its
        writer, or to deliver its next bytes.
    omp_num_threads : int or None
        ``OMP_NUM_THREADS``: an upper bound of what ``num_threads`` auto may come to.
    report : bool or None
        ``FM_REPORT``: whether output/data gets a report.html and a metrics.json; None: where
        what draws it is installed.
    port : int
        ``FM_CLUSTER_PORT``: where the hosts of a job meet, on the first of them.
    hosts_wait_seconds : float
        ``FM_CLUSTER_WAIT_SECONDS``: how long a host waits for the others before training.
    torch_devices : tuple of str
        ``FM_TORCH_DEVICES``: PyTorch's devices for dense data, in place of the GPUs that are found.
    """

    pipe_wait_seconds: float = 1800.0
    omp_num_threads: int | None = None
    report: bool | None = None
    port: int = 29400
    hosts_wait_seconds: float = 600.0
    torch_devices: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "TrainingSettings":
        """Parse the environment.

        Raises
        ------
        ConfigError
            A variable holds something else than it should; the message names it.
        """
        return cls(
            pipe_wait_seconds=seconds(environ, "FM_PIPE_WAIT_SECONDS", cls.pipe_wait_seconds),
            omp_num_threads=_omp_num_threads(environ),
            report=boolean(environ, "FM_REPORT") if environ.get("FM_REPORT") else None,
            port=integer(environ, "FM_CLUSTER_PORT", cls.port, 1, 65535),
            hosts_wait_seconds=seconds(environ, "FM_CLUSTER_WAIT_SECONDS", cls.hosts_wait_seconds),
            torch_devices=_torch_devices(environ),
        )


def integer(environ: Mapping[str, str], name: str, default: int, minimum: int, maximum: int) -> int:
    """A variable that holds an integer; `default` where it is absent or empty.

    Raises
    ------
    ConfigError
        The variable holds something else; the message names it.
    """
    text = environ.get(name)
    if not text:
        return default
    if not re.fullmatch(r"[0-9]{1,18}", text) or not minimum <= int(text) <= maximum:
        raise ConfigError(
            f"environment variable {name} is {text[:80]!r}, expected an integer from {minimum} to {maximum}"
        )
    return int(text)


def boolean(environ: Mapping[str, str], name: str) -> bool:
    """A variable that holds true or false; false where it is absent or empty.

    Raises
    ------
    ConfigError
        The variable holds something else; the message names it.
    """
    text = environ.get(name, "")
    value = {"": False, "false": False, "0": False, "true": True, "1": True}.get(text.lower())
    if value is None:
        raise ConfigError(f"environment variable {name} is {text[:80]!r}, expected true or false")
    return value


def seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    """A variable that holds seconds above 0; `default` where it is absent or empty.

    Raises
    ------
    ConfigError
        The variable holds something else; the message names it.
    """
    text = environ.get(name)
    if not text:
        return default
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) or float(text) == 0:
        raise ConfigError(
            f"environment variable {name} is {text!r}, expected a number of seconds above 0, such as 1800"
        )
    return float(text)


def _torch_devices(environ: Mapping[str, str]) -> tuple[str, ...]:
    text = environ.get("FM_TORCH_DEVICES")
    if not text:
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if not all(re.fullmatch(r"cpu|cuda:[0-9]{1,3}", name) for name in names):
        raise ConfigError(
            f"environment variable FM_TORCH_DEVICES is {text[:80]!r}, expected devices of PyTorch such as cuda:0 or "
            "cuda:0,cuda:1"
        )
    return names


def _omp_num_threads(environ: Mapping[str, str]) -> int | None:
    # OpenMP admits a list, one number for each level of nesting, and ignores what it cannot read.
    first = environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if re.fullmatch(r"[1-9][0-9]{0,8}", first) else None
