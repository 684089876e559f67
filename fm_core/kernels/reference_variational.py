"""The variational kernels in plain NumPy, obvious and slow: the specification the compiled builds are tested against.

One feature at a time, in float64, straight from the equations of _variational.pxi.
"""

import numpy as np

__all__ = ["sweep", "turn_rows"]


def sweep(
    starts, rows, values, order, edges, records, params, variances, groups, precision, shift, alpha, w0, only_moves,
    num_threads,
):  # fmt: skip
    """See `variational_interface.VariationalKernels.sweep`."""
    k = params.shape[1] - 1
    part = -(-(k + 7) // 16) * 16
    for j in order:
        of = slice(starts[j], starts[j + 1])
        r, x = rows[of], (values[of].astype(float) if len(values) else np.ones(starts[j + 1] - starts[j]))
        q, s, t = (records[r, at : at + k].astype(float) for at in (0, part, 2 * part))
        z, om, kappa = records[r, k + 1 : k + 4].T.astype(float)
        x = x[:, np.newaxis]
        mean, var = params[j].astype(float), variances[j].astype(float)
        old, was = (np.zeros(k + 1), np.zeros(k + 1)) if only_moves else (mean, var)
        h = np.column_stack([x * (q - x * old[:k]), x])
        if not only_moves:
            c, d = np.zeros_like(h), np.zeros_like(h)
            others = np.maximum(s - x**2 * was[:k], 0)
            c[:, :k] = x**2 * others
            d[:, :k] = x * (others * (q - x * old[:k]) - (t - x**3 * was[:k] * old[:k]))
            of_means = (om[:, np.newaxis] * h).T @ h
            P = np.diag(precision[groups[j]]) + alpha * (of_means + np.diag(om @ c))
            right = shift[groups[j]] + alpha * (of_means @ old + h.T @ (kappa - om * (z + w0)) - om @ d)
            mean, var = np.linalg.solve(P, right), 1 / np.diag(P)
        records[r, k + 1] = z + h @ (mean - old)
        for at, power, now, then in ((0, 1, mean, old), (part, 2, var, was), (2 * part, 3, var * mean, was * old)):
            records[r, at : at + k] += x**power * (now - then)[:k]
        spread = (var * mean**2 - var**2 / 2) - (was * old**2 - was**2 / 2)
        records[r, k + 6] += x[:, 0] ** 4 * spread[:k].sum() + x[:, 0] ** 2 * (var - was)[k]
        params[j], variances[j] = mean, var


def turn_rows(records, k, w0, w0_variance, is_classifier, num_threads=1, weights=None):
    """See `variational_interface.VariationalKernels.turn_rows`."""
    part = -(-(k + 7) // 16) * 16
    counted = np.ones(len(records)) if weights is None else weights.astype(float)
    q, s, t = (records[:, at : at + k].astype(float) for at in (0, part, 2 * part))
    z, var = records[:, k + 1].astype(float) + w0, records[:, k + 6] + w0_variance
    var = np.maximum(var + (s**2 / 2 + s * q**2 - 2 * q * t).sum(axis=1), 0)
    if is_classifier:
        xi = np.sqrt(z**2 + var)
        om = np.where(xi > 1e-4, np.tanh(xi / 2) / (2 * np.maximum(xi, 1e-4)), 0.25 - xi**2 / 48)
        records[:, k + 2] = counted * om
        records[:, k + 5] = 1 / (1 + np.exp(-np.clip(z / np.sqrt(1 + np.pi / 8 * var), -500, 500)))
    om = records[:, k + 2].astype(float)
    residual, moved = records[:, k + 3] - om * z, z - records[:, k + 4]
    records[:, k + 4] = z
    squares = (residual**2 / counted + counted * var).sum()
    return np.array([om.sum(), residual.sum(), squares, (om * moved**2).sum()])
