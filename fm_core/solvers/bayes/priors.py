"""What features of a group have in common: means and precisions of their numbers, and how alike those are.

The model, for number f of a feature's vector ``[v_j | w_j]`` and its group g::

    theta_jf     ~ N(mu_gf, 1 / lambda_gf)
    mu_gf        ~ N(0, 1 / lambda_gf)
    lambda_gf    ~ Gamma(nu / 2, nu / 2 s2)       nu and s2: one pair for all factors, one for the linear weights
    p(s2) = 1 / s2,   nu one of 1/2, 1, 2, .. 256, alike

``1 / s2`` is the typical precision, and ``nu`` how many features it is worth: groups that turn out alike lean on each
other (nu grows), so that a group of three features is not judged by them alone, and groups that differ are left to
themselves. Rendle's and myFM's fixed Gamma(1/2, 1/2) are too vague for many small groups; this learns how vague to be.
All conditionals are exact: Gamma and normal ones, and a table of ten for nu with s2 integrated out.
"""

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

if TYPE_CHECKING:
    from fm_core.solvers.bayes.randomness import Generator

__all__ = ["VAGUE", "WORTH", "Priors"]

Doubles = NDArray[np.float64]

#: The values of nu.
WORTH = 2.0 ** np.arange(-1, 9)

#: Of the proper stand-in for p(s2) = 1 / s2: Gamma with this shape and rate.
VAGUE = 0.01

#: No precision is above it: in units of the data, where values are about 1, such a number is zero.
_MOST = 1e8

#: First precision of factors, times their variance. At 1 a chain may take for noise what pairs say, and stay there;
#: measured on made-up tables of 1,000 rows, additive ones and ones with a pair, and .05 to 1 tried.
_WIDER = 0.4


@dataclasses.dataclass
class Priors:
    """The groups' means and precisions.

    Attributes
    ----------
    mean, precision : ndarray of float64, shape (n_groups, num_factors + 1)
        The last column is that of the linear weights.
    worth : ndarray of float64, shape (2,)
        nu of the factors and of the linear weights, as drawn last.
    """

    mean: Doubles
    precision: Doubles
    worth: Doubles

    @classmethod
    def begin(cls, n_groups: int, num_factors: int, variance: float = _WIDER) -> "Priors":
        """The priors before any draw.

        If all groups have the same precision, it has an influence for a hundred sweeps: with precision 1 and initial
        factors of .1, a table of ten columns was scored worse than by its mean during that time.

        Parameters
        ----------
        n_groups, num_factors : int
        variance : float
            The variance of the initial factors; 0 if they are not drawn.

        Returns
        -------
        priors : Priors
            Mean 0, and precision 1 for linear weights. The precision for factors is a little less than theirs, or 1 if
            `variance` is 0.
        """
        precision = np.ones((n_groups, num_factors + 1))
        if variance > 0:
            precision[:, :-1] = min(max(_WIDER / variance, 1 / _MOST), _MOST)
        return cls(np.zeros_like(precision), precision, np.ones(2))

    def draw(self, n: Doubles, sums: Doubles, squares: Doubles, rng: "Generator") -> None:
        """Draw new values.

        Parameters
        ----------
        n : ndarray of float64, shape (n_groups,)
            Features of each group.
        sums, squares : ndarray of float64, shape (n_groups, num_factors + 1)
            Of their numbers.
        rng : Generator
        """
        n = n[:, np.newaxis]
        shape, rate = np.empty(self.mean.shape[1]), np.empty(self.mean.shape[1])
        for i, columns in enumerate((slice(0, -1), slice(-1, None))):
            self.worth[i], typical = _draw_worth(self.precision[:, columns], rng)
            shape[columns] = self.worth[i] / 2
            rate[columns] = self.worth[i] / 2 * typical
        about_mean = squares - 2 * self.mean * sums + (n + 1) * self.mean**2
        drawn = rng.standard_gamma(shape + (n + 1) / 2) / (rate + np.maximum(about_mean, 0) / 2)
        self.precision = np.minimum(drawn, _MOST)
        self.mean = sums / (n + 1) + rng.standard_normal(self.mean.shape) / np.sqrt(self.precision * (n + 1))

    def expect(self, n: Doubles, sums: Doubles, squares: Doubles) -> None:
        """Set the priors to their expectations instead of drawing them: the step of the variational method.

        The variational method's part; `squares` are of means and variances together there.

        Parameters
        ----------
        n : ndarray of float64, shape (n_groups,)
            The number of features in each group.
        sums : ndarray of float64, shape (n_groups, k + 1)
            Sums of means.
        squares : ndarray of float64, shape (n_groups, k + 1)
            Sums of squared means plus variances.
        """
        n = n[:, np.newaxis]
        shape, rate = np.empty(self.mean.shape[1]), np.empty(self.mean.shape[1])
        for i, columns in enumerate((slice(0, -1), slice(-1, None))):
            weights, total = _worth_weights(self.precision[:, columns])
            nu = self.worth[i] = float(np.sum(weights * WORTH) / weights.sum())
            typical = (self.precision[:, columns].size * nu / 2 + VAGUE) / (nu / 2 * total + VAGUE)
            shape[columns], rate[columns] = nu / 2, nu / 2 * typical
        self.mean = sums / (n + 1)
        about_mean = squares - 2 * self.mean * sums + (n + 1) * self.mean**2 + 1 / self.precision
        self.precision = np.minimum((shape + (n + 1) / 2) / (rate + np.maximum(about_mean, 0) / 2), _MOST)

    def systems(self) -> tuple[Doubles, Doubles]:
        """Precision matrices and precision times mean, as the kernels take them."""
        n_groups, width = self.mean.shape
        matrices = np.zeros((n_groups, width, width))
        matrices[:, np.arange(width), np.arange(width)] = self.precision
        return matrices, self.precision * self.mean


def _worth_weights(precision: Doubles) -> tuple[Doubles, float]:
    """How likely each nu is, given precisions, with s2 integrated out; and their sum."""
    total, logs = float(precision.sum()), np.log(precision).sum()
    half, shapes, of_size, of_shapes = _of_size(precision.size, tuple(WORTH.tolist()), VAGUE)
    likelihood = of_size + (half - 1) * logs
    likelihood += of_shapes - shapes * np.log(half * total + VAGUE)
    weights: Doubles = np.exp(likelihood - likelihood.max())
    return weights, total


@functools.lru_cache(maxsize=16)
def _of_size(n: int, worth: tuple[float, ...], vague: float) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """What the number of precisions alone decides: a chain asks for the same two of these in every sweep."""
    half = np.array(worth) / 2
    shapes = n * half + vague
    return half, shapes, n * (half * np.log(half) - gammaln(half)), gammaln(shapes)


def _draw_worth(precision: Doubles, rng: "Generator") -> tuple[float, float]:
    """nu, given precisions, and s2 given both."""
    weights, total = _worth_weights(precision)
    nu = WORTH[weights.cumsum().searchsorted(rng.random() * weights.sum(), side="right")]
    return float(nu), float(rng.gamma(precision.size * nu / 2 + VAGUE) / (nu / 2 * total + VAGUE))
