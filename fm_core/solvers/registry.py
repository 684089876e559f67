"""Which solver supports which devices and hosts: the only table, and the only place that refuses a combination."""

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

from fm_core.errors import ConfigError
from fm_core.hyperparameters import Hyperparameters
from fm_core.solvers.base import Algorithm

__all__ = ["Combination", "Hosts", "algorithm", "combination", "dense_hosts"]

#: How hosts work together: one alone; each with a part of the model's rows; each with all of it and averages.
Hosts = Literal["one", "sharded", "averaged"]

#: Name of each solver: the module and class of its algorithm, imported when it is asked for.
_ALGORITHMS = {
    "minibatch": ("fm_core.solvers.minibatch", "MiniBatch"),
    "standardized": ("fm_core.solvers.standardized", "StandardizedMiniBatch"),
    "ranked": ("fm_core.solvers.ranked", "RankedMiniBatch"),
    "bayes": ("fm_core.solvers.bayes.algorithm", "Bayes"),
    "online": ("fm_core.solvers.online.algorithm", "Online"),
}


@dataclasses.dataclass(frozen=True)
class Combination:
    """What a solver does on hosts that work together in one way.

    Attributes
    ----------
    solver : str
    hosts : {"one", "sharded", "averaged"}
    uses_devices : bool
        Whether dense data is learned from on devices other than the CPU, where there are some.
    keeps_whole_model : bool
        Whether each host has all of the model, so that the first one can save it alone.
    writes_checkpoints : bool
    """

    solver: str
    hosts: Hosts
    uses_devices: bool
    keeps_whole_model: bool
    writes_checkpoints: bool


_TABLE = {
    (row.solver, row.hosts): row
    for row in (
        Combination("minibatch", "one", uses_devices=True, keeps_whole_model=True, writes_checkpoints=True),
        Combination("standardized", "one", uses_devices=True, keeps_whole_model=True, writes_checkpoints=True),
        Combination("ranked", "one", uses_devices=False, keeps_whole_model=True, writes_checkpoints=True),
        Combination("minibatch", "sharded", uses_devices=True, keeps_whole_model=False, writes_checkpoints=True),
        Combination("minibatch", "averaged", uses_devices=False, keeps_whole_model=True, writes_checkpoints=False),
        Combination("bayes", "one", uses_devices=False, keeps_whole_model=True, writes_checkpoints=True),
        Combination("online", "one", uses_devices=False, keeps_whole_model=True, writes_checkpoints=True),
    )
}


def combination(hyperparameters: Hyperparameters, n_hosts: int = 1) -> Combination:
    """Return the combination of solver, devices and hosts that the hyperparameters select.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    n_hosts : int

    Returns
    -------
    combination : Combination

    Raises
    ------
    ConfigError
        The solver does not support so many hosts, or the devices that are asked for.
    """
    solver = _solver(hyperparameters)
    held_out = hyperparameters.validation_fraction or 0
    if held_out >= 1 or (held_out and n_hosts > 1):
        raise ConfigError(
            f"validation_fraction is {held_out:g}, expected a share below 1"
            if held_out >= 1
            else f"validation_fraction needs one host, but there are {n_hosts}: use a validation channel"
        )
    hosts: Hosts = "one"
    if n_hosts > 1:
        hosts = "averaged" if hyperparameters._kvstore == "dist_async" else "sharded"
    if hosts == "averaged" and hyperparameters._wire_dtype != "float32":
        raise ConfigError(
            f"_wire_dtype is {hyperparameters._wire_dtype}, but _kvstore dist_async sends the parameters themselves: "
            "use float32, or another _kvstore"
        )
    if (solver, hosts) not in _TABLE:
        others = ", ".join(row.solver for row in _TABLE.values() if row.hosts == hosts)
        asked = {"ranked": f" (loss={hyperparameters.loss})", "standardized": " (standardize=true)"}
        name = solver + asked.get(solver, "")
        raise ConfigError(
            f"solver {name} trains on one host, but there are {n_hosts}: use one host, or solver {others}"
        )
    found = _TABLE[solver, hosts]
    devices = hyperparameters._num_gpus
    if isinstance(devices, int) and devices and not (found.uses_devices or solver == "minibatch"):
        others = ", ".join(row.solver for row in _TABLE.values() if row.hosts == hosts and row.uses_devices)
        raise ConfigError(
            f"solver {solver} computes on the CPU, and _num_gpus is {devices}: set it to auto, or use solver {others}"
        )
    return found


def algorithm(
    hyperparameters: Hyperparameters, num_threads: int = 1, device: Callable[[], Any] | None = None
) -> Algorithm:
    """Make the algorithm that the hyperparameters ask for.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    num_threads : int
    device : callable, optional
        See `minibatch.MiniBatch`; a solver that computes on the CPU only does not call it.

    Returns
    -------
    algorithm : Algorithm
    """
    solver = _solver(hyperparameters)
    module, name = _ALGORITHMS[solver]
    own: dict[str, dict[str, Any]] = {"bayes": {"feature_groups": hyperparameters.feature_groups}, "online": {}}
    made: Algorithm = getattr(importlib.import_module(module), name)(num_threads, **own.get(solver, {"device": device}))
    made.check(hyperparameters)
    return made


def dense_hosts(has_device: Sequence[bool]) -> Literal["replicated", "sharded"]:
    """How hosts with a part of the model each learn from dense data: on devices, if each of them has one.

    With devices each keeps the whole model (cluster/replicated.py); without, all are on their CPUs.

    Parameters
    ----------
    has_device : sequence of bool
        For each host, whether it has a usable GPU.

    Returns
    -------
    kind : 'replicated' or 'sharded'
    """
    return "replicated" if all(has_device) else "sharded"


def _solver(hyperparameters: Hyperparameters) -> str:
    hp = hyperparameters
    if hp.solver == "auto":
        raise ConfigError("solver is auto, and is not chosen yet: see fm_core.solvers.auto")
    if hp.loss == "pointwise":
        return "standardized" if hp.solver == "minibatch" and hp.standardize else hp.solver
    if hp.solver != "minibatch":
        raise ConfigError(
            f"loss is {hp.loss}, and solver {hp.solver} supports only loss pointwise: use that, or solver minibatch"
        )
    if hp.standardize:
        raise ConfigError(f"standardize is true, but loss {hp.loss} does not predict numbers: leave out standardize")
    return "ranked"
