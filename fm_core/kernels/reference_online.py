"""The online kernels in plain NumPy, obvious and slow: the specification the compiled builds are tested against.

Row by row, in float64, straight from the equations of _online.pxi.
"""

import numpy as np

__all__ = ["filter_rows"]


def filter_rows(
    indptr, keys, values, labels, params, information, precision, is_factor, state, scores, is_classifier
):  # fmt: skip
    """See `online_interface.OnlineKernels.filter_rows`."""
    k = params.shape[1] - 1
    for r, y in enumerate(labels):
        of = slice(indptr[r], indptr[r + 1])
        j, x = keys[of], values[of].astype(float)[:, np.newaxis]
        v, w = params[j, :k].astype(float), params[j, k:].astype(float)
        q = (x * v).sum(axis=0)
        scores[r] = z = state[0] + (x * w).sum() + (q**2 - (x**2 * v**2).sum(axis=0)).sum() / 2
        h = np.column_stack([x * (q - x * v), x])
        s = 1 / (precision[: k + 1] + information[j].astype(float))
        var = 1 / state[1] + (s * h**2).sum()
        if is_classifier:
            p = 1 / (1 + np.exp(-np.clip(z / np.sqrt(1 + np.pi / 8 * var), -500, 500)))
            curvature = max(p * (1 - p), 1e-3)
            G = (y - p) / (1 + curvature * var)
        else:
            most, curvature = 8 * np.sqrt(state[2] + var), 1 / state[2]
            g = np.clip(y - z, -most, most)
            state[2] += (max(g**2 - var, state[2] / 10) - state[2]) / (state[3] + 100)
            G = g * curvature / (1 + curvature * var)
        H = curvature / (1 + curvature * var)
        state[3] += 1
        state[0] += G / state[1]
        state[1] += H / (1 - H / state[1])
        for t in range(len(j)):
            params[j[t]] += s[t] * h[t] * G
            information[j[t]] += H * h[t] ** 2 / (1 - s[t] * H * h[t] ** 2)
