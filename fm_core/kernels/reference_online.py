"""The online kernels in plain NumPy, obvious and slow: the specification the compiled builds are tested against.

Row by row, in float64, straight from the equations of _online.pxi.
"""

import numpy as np

__all__ = ["filter_rows"]

#: How often a row is learned from at most.
_TIMES = 8


def filter_rows(
    indptr, keys, values, labels, params, information, precision, is_factor, state, scores, is_classifier, weights=None
):  # fmt: skip
    """See `online_interface.OnlineKernels.filter_rows`."""
    for r, y in enumerate(labels):
        whole = 1 if weights is None else float(weights[r])
        times = int(max(1, min(_TIMES, np.ceil(whole))))
        for t in range(times):
            z = _learned(
                keys, values, slice(indptr[r], indptr[r + 1]), y, whole / times, params, information, precision, state,
                is_classifier,
            )  # fmt: skip
            scores[r] = scores[r] if t else z


def _learned(keys, values, of, y, weight, params, information, precision, state, is_classifier):
    """Score a row, and learn from it."""
    k = params.shape[1] - 1
    j, x = keys[of], values[of].astype(float)[:, np.newaxis]
    v, w = params[j, :k].astype(float), params[j, k:].astype(float)
    q = (x * v).sum(axis=0)
    z = state[0] + (x * w).sum() + (q**2 - (x**2 * v**2).sum(axis=0)).sum() / 2
    h = np.column_stack([x * (q - x * v), x])
    s = 1 / (precision[: k + 1] + information[j].astype(float))
    var = 1 / state[1] + (s * h**2).sum()
    if is_classifier:
        p = 1 / (1 + np.exp(-np.clip(z / np.sqrt(1 + np.pi / 8 * var), -500, 500)))
        curvature = weight * max(p * (1 - p), 1e-3)
        G = weight * (y - p) / (1 + curvature * var)
    else:
        most, curvature = 8 * np.sqrt(state[2] + var), weight / state[2]
        g = np.clip(y - z, -most, most)
        state[2] += weight * (max(g**2 - var, state[2] / 10) - state[2]) / (state[3] + 99 + weight)
        G = g * curvature / (1 + curvature * var)
    H = curvature / (1 + curvature * var)
    state[3] += weight
    state[0] += G / state[1]
    state[1] += H / (1 - H / state[1])
    for t in range(len(j)):
        params[j[t]] += s[t] * h[t] * G
        information[j[t]] += H * h[t] ** 2 / (1 - s[t] * H * h[t] ** 2)
    return z
