"""Which GPUs a job uses: those that the machine has and the job requests, for dense data only, as in the built-in.

The GPUs of the machine are found in /dev, so PyTorch, which takes seconds to import, is only imported if they are
used. The choice is made once, when the first record shows whether the data is dense.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fm_core.errors import ConfigError
from fm_core.printable import first_line
from fm_core.resources import visible_gpus
from fm_core.solvers.minibatch_torch import DenseDevice, usable_gpus

__all__ = ["Gpus"]

_log = logging.getLogger(__name__)


class Gpus:
    """A job's choice of devices.

    Parameters
    ----------
    wanted : int or "auto"
        The hyperparameter ``_num_gpus``.
    forced : sequence of str
        PyTorch's names of the devices to use for dense data instead of those that are found.
    are_usable : bool
        Whether the job's solver and hosts have a use for GPUs; see `registry.Combination`.
    devices : Path
        Where the system lists its devices.
    why : str, optional
        Said where there is no use for them.
    """

    def __init__(
        self,
        wanted: int | str,
        forced: Sequence[str] = (),
        are_usable: bool = True,
        devices: Path = Path("/dev"),
        why: str | None = None,
    ) -> None:
        self._wanted = wanted
        self._forced = forced
        self._are_usable = are_usable
        self._why = why or "With _kvstore dist_async hosts train on their CPUs"
        self._n_visible = visible_gpus(devices)
        self._chosen: DenseDevice | None = None

    def remark(self) -> None:
        """Say what is wanted and not there."""
        if self._wanted not in ("auto", 0) and not self._n_visible:
            _log.warning("_num_gpus is %s, and this machine has no GPU: training runs on the CPU.", self._wanted)

    def open(self, reduce: Callable[[list[Any]], None] | None = None) -> DenseDevice | None:
        """Choose where dense batches are learned from; None: on the CPU. It is `fit`'s `device`.

        Parameters
        ----------
        reduce : callable, optional
            With several hosts; see `DenseDevice`.

        Raises
        ------
        ConfigError
            A device that was named is not there.
        """
        names = self._forced or self._found()
        if names:
            try:
                self._chosen = DenseDevice(names, reduce)
            except (ImportError, RuntimeError) as error:
                raise ConfigError(
                    f"the devices {', '.join(names)} cannot be used: {first_line(error)}; "
                    "name others in FM_TORCH_DEVICES, or none"
                ) from error
            _log.info("Dense batches train on %s.", self._chosen.description)
        return self._chosen

    def used(self, is_dense: bool) -> int:
        """Count the GPUs in use, once the kind of data is known; say why those of the machine are not."""
        if self._n_visible and self._wanted != 0:
            if not is_dense:
                _log.info(
                    "The data is sparse and trains on the CPU: GPUs help with dense data only. This machine has %d.",
                    self._n_visible,
                )  # fmt: skip
            elif not self._are_usable:
                _log.info("%s, and GPUs are not used. This one has %d.", self._why, self._n_visible)
        return 0 if self._chosen is None else sum(name.startswith("cuda") for name in self._chosen.devices)

    def _found(self) -> list[str]:
        if self._wanted == 0 or not self._n_visible:
            return []
        try:
            names = usable_gpus()
        except ImportError:
            _log.warning(
                "This machine has a GPU, but no PyTorch is installed that can use it: training runs on the CPU. "
                "The image of Dockerfile.gpu has one."
            )
            return []
        if not names:
            _log.warning(
                "This machine has a GPU, but the installed PyTorch cannot use it: training runs on the CPU. Either "
                "that is a build for CPUs only (the image of Dockerfile.gpu has another one), or the GPU or its driver "
                "is too old."
            )
        elif isinstance(self._wanted, int) and self._wanted > len(names):
            _log.warning("_num_gpus is %d, but this machine has %d: using those.", self._wanted, len(names))
        return names if isinstance(self._wanted, str) else names[: self._wanted]
