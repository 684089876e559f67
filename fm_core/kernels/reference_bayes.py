"""The Bayesian kernels in plain NumPy, obvious and slow: the specification the compiled builds are tested against.

One feature and one row at a time, in float64, straight from the equations of _bayes.pxi and polya_gamma.h.
"""

import numpy as np

from fm_core.kernels.reference import threefry

__all__ = ["polya_gamma", "sweep", "turn_rows"]


def sweep(
    starts, rows, values, schedule, records, params, groups, precision, shift, noise, alpha, w0, is_weighted,
    only_moves, num_threads,
):  # fmt: skip
    """See `bayes_interface.BayesKernels.sweep`."""
    k = params.shape[1] - 1
    for j in schedule.order:
        of = slice(starts[j], starts[j + 1])
        r, x = rows[of], (values[of].astype(float) if len(values) else np.ones(starts[j + 1] - starts[j]))
        q, (z, om, kappa) = records[r, :k].astype(float), records[r, k + 1 : k + 4].T.astype(float)
        new = params[j].astype(float)
        old = np.zeros(k + 1) if only_moves else new
        h = np.column_stack([x[:, np.newaxis] * (q - np.outer(x, old[:k])), x])
        if not only_moves:
            weighted = h * om[:, np.newaxis] if is_weighted else h
            P = precision[groups[j]] + alpha * weighted.T @ h
            right = shift[groups[j]] + alpha * (weighted.T @ h @ old + h.T @ (kappa - om * (z + w0)))
            L = np.linalg.cholesky(P)
            right = np.linalg.solve(L, right) + (noise[j] if len(noise) else 0)
            new = np.linalg.solve(L.T, right)
        step = new - old
        records[r, k + 1] = z + h @ step
        records[r, :k] = q + np.outer(x, step[:k])
        params[j] = new


def turn_rows(records, k, w0, counts, num_threads=1, is_weighted=False):
    """See `bayes_interface.BayesKernels.turn_rows`."""
    z, (om, kappa) = records[:, k + 1].astype(float) + w0, records[:, k + 2 : k + 4].T.astype(float)
    om = om if is_weighted else np.ones(len(om))
    records[:, k + 4] = z + (0 if counts == 1 else records[:, k + 4])
    return np.array([(kappa - om * z).sum(), ((kappa - om * z) ** 2 / om).sum()])


def polya_gamma(c, key, sweep=0, first=0):
    """See `_polya_gamma.polya_gamma`."""
    return np.array([_polya_gamma(float(of), key, first + i, sweep) for i, of in enumerate(c)])


def _polya_gamma(c, key, row, sweep):
    z = abs(c) / 2
    for n_tries in range(1000):
        words = threefry(key, (row, n_tries, sweep, 0))
        u, e = _uniform(words[0]), -np.log(_uniform(words[1]))
        rate = np.pi**2 / 8 + z**2 / 2
        # logarithms of the masses of the two proposals
        tail = np.log(np.pi / (2 * rate)) - 0.64 * rate
        small = np.log(4 / np.sqrt(2 * np.pi) / 1.25) - 1.25**2 / 2
        below = small if z < 1 / 0.64 else np.log(2) - z
        r = 1 / (1 + np.exp(min(below - tail, 700)))
        if u < r:
            x = 0.64 + e / rate
        elif z < 1 / 0.64:
            square = 1.25**2 + 2 * e  # of a normal number beyond 1.25
            x = 1 / square
            if _uniform(words[2]) * np.sqrt(square) >= 1.25 * np.exp(-(z**2) * x / 2):
                continue
        else:
            angle = np.pi / 4 * ((words[2] << 1) % 2**32 - (2**32 if words[2] >> 30 & 1 else 0)) / 2**31
            y = 2 * e * (np.sin(angle) ** 2 if words[2] >> 31 else np.cos(angle) ** 2)
            w = y / z
            x = (1 + w / 2 - np.sqrt(w**2 + 4 * w) / 2) / z
            if (u - r) / (1 - r) * (1 / z + x) > 1 / z:
                x = 1 / (z**2 * x)
            if x > 0.64:
                continue
        ratio = np.exp(-(np.pi**2) * x) if u < r else np.exp(-4 / x)
        if _uniform(words[3]) < 1 - 3 * ratio + 5 * ratio**3:
            return x / 4
    raise ValueError(f"PG(1, {c}) was rejected 1000 times")


def _uniform(word):
    return ((word >> 1) + 0.5) / 2**31
