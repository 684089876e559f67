"""How far the mean of the samples may still be from where it goes: whether more sweeps would help.

Probes (probes.py) are scored with each sample. Their scores are added up in batches of sweeps, 8 to 16 of them, each
twice as long whenever there are 16: how the batches' means differ says how uncertain the mean of all is, with the
samples' correlation in it (batch means; C. Geyer, "Practical Markov Chain Monte Carlo", 1992). What stopping now would
cost is half that variance times the curvature of a row's loss, in nats a row, as cross entropy is measured.

Sweeps of much data take long, so what they have to gain rises with the entries walked so far (`tolerated`).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["TOLERANCE", "WALKED", "Convergence", "Outlook", "tolerated"]

Doubles = NDArray[np.float64]

_BATCHES = 16

#: Nats a row that are not worth further sweeps: .03 % of a regressor's error.
TOLERANCE = 3e-4

#: Entries walked, some seconds' worth, after which more is tolerated, and how many times as much at most.
WALKED, _MOST_TIMES = 2e8, 3.0


@dataclasses.dataclass(frozen=True)
class Outlook:
    """What is known of the samples so far.

    Attributes
    ----------
    n_samples : int
    effective : float
        How many independent samples would be as good; NaN before there are enough.
    cost : float
        What stopping now costs, in nats a row; NaN before there are enough.
    """

    n_samples: int
    effective: float
    cost: float

    @property
    def is_enough(self) -> bool:
        """Whether more sweeps would hardly help."""
        return self.cost <= TOLERANCE


def tolerated(n_walked: int) -> float:
    """Return the gain, in nats per row, below which further sweeps are not worth their time.

    In proportion to them, as then the next second gains as little in a long training as in a short one; but a model
    stays within .001 nats of what endless sweeps would make of it.

    Parameters
    ----------
    n_walked : int
        The number of entries visited so far.

    Returns
    -------
    gain : float
        Proportional to `n_walked` within limits.
    """
    return TOLERANCE * min(max(1.0, n_walked / WALKED), _MOST_TIMES)


class Convergence:
    """The scores of probes, sample by sample.

    Parameters
    ----------
    n_probes : int
    has_probabilities : bool
        Whether scores are those of a classifier; otherwise their probabilities are not added up.

    Attributes
    ----------
    n_samples : int
    """

    def __init__(self, n_probes: int, has_probabilities: bool = True) -> None:
        self._has_probabilities = has_probabilities
        self._batches = np.zeros((_BATCHES, n_probes))
        self._sums = np.zeros((3, n_probes))  # of z, z^2 and sigmoid(z)
        self._length = 1
        self.n_samples = 0

    def restart(self) -> None:
        """Forget all samples."""
        self._batches[:], self._sums[:] = 0, 0
        self._length, self.n_samples = 1, 0

    def add(self, latent: NDArray[np.float32]) -> None:
        """Add a sample's scores, before the logistic function.

        Parameters
        ----------
        latent : ndarray of float32, shape (n,)
            The scores of the probe rows.
        """
        if self.n_samples == _BATCHES * self._length:
            self._batches[: _BATCHES // 2] = self._batches[::2] + self._batches[1::2]
            self._batches[_BATCHES // 2 :] = 0
            self._length *= 2
        z = latent.astype(np.float64)
        self._batches[self.n_samples // self._length] += z
        self._sums[0] += z
        self._sums[1] += z * z
        if self._has_probabilities:
            self._sums[2] += 1 / (1 + np.exp(-np.clip(z, -500, 500)))
        self.n_samples += 1

    @property
    def mean_probability(self) -> Doubles:
        """The mean over samples of each probe's probability."""
        found: Doubles = self._sums[2] / max(1, self.n_samples)
        return found

    @property
    def mean_latent(self) -> Doubles:
        """The mean over samples of each probe's score."""
        found: Doubles = self._sums[0] / max(1, self.n_samples)
        return found

    def outlook(self, alpha: float | None) -> Outlook:
        """Estimate what further sweeps would gain.

        Parameters
        ----------
        alpha : float or None
            Precision of a regressor's noise; None for a classifier.

        Returns
        -------
        outlook : Outlook
        """
        n = self.n_samples // self._length
        if n < _BATCHES // 2:
            return Outlook(self.n_samples, np.nan, np.nan)
        of_mean = (self._batches[:n] / self._length).var(axis=0, ddof=1) / n
        mean = self._sums[0] / self.n_samples
        of_sample = np.maximum(self._sums[1] / self.n_samples - mean**2, 0) * self.n_samples / (self.n_samples - 1)
        curvature = self.mean_probability * (1 - self.mean_probability) if alpha is None else alpha
        cost = float(np.mean(curvature * of_mean) / 2)
        total = float(np.sum(curvature * of_mean))
        effective = float(np.sum(curvature * of_sample)) / total if total > 0 else float(self.n_samples)
        return Outlook(self.n_samples, min(effective, float(self.n_samples)), cost)

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> "Convergence":
        """Create one from what `arrays` returned.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            By name.

        Returns
        -------
        convergence : Convergence
        """
        found = cls(arrays["probe_batches"].shape[1])
        found.restore(arrays)
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that `restore` needs."""
        counts = np.array([self.n_samples, self._length], np.float64)
        return {"probe_counts": counts, "probe_batches": self._batches, "probe_sums": self._sums}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore the state that `arrays` returned.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            By name.
        """
        self.n_samples, self._length = map(int, arrays["probe_counts"])
        self._batches, self._sums = arrays["probe_batches"], arrays["probe_sums"]
