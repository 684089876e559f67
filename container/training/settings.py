"""Every environment variable of a training job, parsed once into frozen settings."""

import dataclasses
import re
from collections.abc import Mapping

from container.environment import boolean, integer, seconds
from fm_core.errors import ConfigError

__all__ = ["TrainingSettings"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The settings of a training job, except the root of its tree.

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
    baseline : bool
        ``FM_BASELINE``: whether baseline.json is left beside the model; by default it is.
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
    baseline: bool = True
    port: int = 29400
    hosts_wait_seconds: float = 600.0
    torch_devices: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "TrainingSettings":
        """Parse the environment.

        Raises
        ------
        ConfigError
            A variable has an invalid value; the message names it.
        """
        return cls(
            pipe_wait_seconds=seconds(environ, "FM_PIPE_WAIT_SECONDS", cls.pipe_wait_seconds),
            omp_num_threads=_omp_num_threads(environ),
            report=boolean(environ, "FM_REPORT") if environ.get("FM_REPORT") else None,
            baseline=boolean(environ, "FM_BASELINE") if environ.get("FM_BASELINE") else cls.baseline,
            port=integer(environ, "FM_CLUSTER_PORT", cls.port, 1, 65535),
            hosts_wait_seconds=seconds(environ, "FM_CLUSTER_WAIT_SECONDS", cls.hosts_wait_seconds),
            torch_devices=_torch_devices(environ),
        )


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
    text = environ.get("OMP_NUM_THREADS", "").strip()
    if not text:
        return None
    numbers = [number.strip() for number in text.split(",")]  # OpenMP admits one for each level of nesting
    if not all(re.fullmatch(r"[1-9][0-9]{0,8}", number) for number in numbers):
        raise ConfigError(
            f"environment variable OMP_NUM_THREADS is {text[:80]!r}, expected a number of threads such as 4"
        )
    return int(numbers[0])
