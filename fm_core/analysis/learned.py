"""What the samples of solver bayes show about groups of features: how large their parameters are, and how surely."""

import math
from typing import Any

import numpy as np

from fm_core.spread import Spread

__all__ = ["learned"]


def learned(spread: Spread) -> dict[str, Any]:
    """Return what a spread shows about a model.

    Parameters
    ----------
    spread : Spread

    Returns
    -------
    document : dict
        For JSON. `noise`: the standard deviation of a regressor's labels about their scores, else None. `groups`: of
        each group its first and last feature that occurred, how many there are, and the mean precision of their linear
        weights and of their factors, in units in which labels have variance 1 and values are divided by `typical`.
        `sweeps` (of a chain, else None): samples in the mean, how many independent ones they are worth, what further
        ones would gain in nats a row, and whether that is worth it; None where there are too few to say.
    """
    groups = []
    for group in range(len(spread.typical)):
        features = spread.features[spread.groups == group]
        precision = spread.prior_precision[:, group].astype(np.float64)
        groups.append(
            {
                "first": int(features[0]) if len(features) else None,
                "last": int(features[-1]) if len(features) else None,
                "n_features": len(features),
                "typical": float(spread.typical[group]),
                "w_precision": float(precision[:, -1].mean()),
                "v_precision": float(precision[:, :-1].mean()),
            }
        )
    chain = spread.chain
    sweeps = None if chain is None else {
        "samples": chain.n_samples,
        "effective": chain.effective,
        "gain": chain.cost,
        "more_would_help": None if chain.is_enough is None else not chain.is_enough,
    }  # fmt: skip
    noise = None if spread.is_classifier else spread.scale * math.sqrt(float(np.mean(1 / spread.alpha)))
    return {"noise": noise, "sweeps": sweeps, "groups": groups}
