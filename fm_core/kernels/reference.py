"""The kernels in plain NumPy, obvious and slow: the specification the compiled builds are tested against.

One row and one feature at a time, in float64, straight from the equations of interface.py, and of draw.h.
"""

import itertools

import numpy as np

from fm_core.kernels.interface import OPTIMIZERS

__all__ = [
    "add_parts",
    "draw",
    "gradients",
    "learn_parts",
    "predict_dense",
    "predict_sparse",
    "score_parts",
    "score_rows",
    "threefry",
    "train_dense",
    "train_sparse",
    "update",
]

#: Rounded to float32, as the built-in's engine has them.
_BETA1, _BETA2 = float(np.float32(0.9)), float(np.float32(0.999))

#: Bits by which Threefry-4x32 turns its second and fourth word, round by round.
_ROTATIONS = ((10, 26), (11, 21), (13, 27), (23, 5), (6, 20), (17, 11), (25, 10), (18, 20))


def draw(params, key, factors, linear, first=0, every=1, stream=0, num_threads=1):
    """See `_draw.draw`."""
    n, k = params.shape[0], params.shape[1] - 1
    for r in range(n):
        for j in range(k + 1):
            words = threefry(key, (first + every * r, j // 4, stream, 0))
            method, scale = factors if j < k else linear
            a, b = words[j % 4 // 2 * 2 :][:2]
            if method == "normal":
                radius = np.sqrt(-2 * np.log(((a >> 1) + 0.5) / 2**31))
                # the two highest bits are a quarter of the circle, the others an angle from -pi/4 to pi/4 in it
                angle = np.pi / 2 * (b >> 30) + np.pi / 4 * (((b << 2) + 2**31) % 2**32 - 2**31) / 2**31
                number = radius * (np.sin(angle) if j % 2 else np.cos(angle))
            elif method == "uniform":
                number = 2 * (words[j % 4] >> 8) / 2**24 - 1
            else:
                number = 1
            params[r, j] = scale * number


def threefry(key, counter, n_rounds=20):
    """Give the four words of Threefry-4x32, see draw.h.

    Parameters
    ----------
    key, counter : sequence of four int
        Below 2**32.
    n_rounds : int

    Returns
    -------
    words : list of four int
    """
    key = [int(word) for word in key]
    key.append(0x1BD11BDA ^ key[0] ^ key[1] ^ key[2] ^ key[3])
    x = [(c + k) % 2**32 for c, k in zip(counter, key[:4], strict=True)]
    for n in range(n_rounds):
        for a, b, bits in zip((0, 2), (1, 3) if n % 2 == 0 else (3, 1), _ROTATIONS[n % 8], strict=True):
            x[a] = (x[a] + x[b]) % 2**32
            x[b] = (x[b] << bits | x[b] >> (32 - bits)) % 2**32 ^ x[a]
        if n % 4 == 3:
            s = n // 4 + 1
            x = [(x[i] + key[(s + i) % 5] + (s if i == 3 else 0)) % 2**32 for i in range(4)]
    return x


def train_sparse(
    indptr, indices, values, labels, features, starts, rows, row_values, is_grouped,
    params, state, bias, sums, residuals, scores, classify, lazy, step, num_threads, weights=None,
):  # fmt: skip
    """See `interface.Kernels.train_sparse`."""
    X = _dense_rows(indptr, indices, values, len(params))
    distinct = np.unique(indices)
    touched = distinct if lazy else np.arange(len(params))
    _train(X, touched, labels, params, state, bias, sums, residuals, scores, classify, step, weights)
    if not is_grouped:
        _group(indptr, indices, values, distinct, features, starts, rows, row_values)
    return len(distinct)


def train_ranked(
    indptr, indices, values, n_contexts, loss, n_items, features, starts, rows, row_values, is_grouped,
    params, state, sums, residuals, losses, orders, lazy, step, num_threads,
):  # fmt: skip
    """See `interface.Kernels.train_ranked`: by whole rows of context and item, and the derivatives of their scores."""
    X = _dense_rows(indptr, indices, values, len(params))
    contexts, items = X[:n_contexts], X[n_contexts:].reshape(n_contexts, -1, X.shape[1])
    k = params.shape[1] - 1
    V, w = params[:, :k].astype(float), params[:, k].astype(float)
    gradient = np.zeros((len(params), k + 1))
    for r, (context, of_context) in enumerate(zip(contexts, items, strict=True)):
        scored = [_score(context + item, 0.0, w, V) for item in of_context]
        z = np.array([score for score, _ in scored])
        losses[r], e = compared(z, loss, n_items)
        orders[r] = np.mean((z[1:] < z[0]) + 0.5 * (z[1:] == z[0]))
        for e_j, item, (_, s) in zip(e, of_context, scored, strict=True):
            x = context + item
            gradient += e_j * np.column_stack([np.outer(x, s) - (x**2)[:, np.newaxis] * V, x])
    in_contexts = (contexts != 0).any(axis=0)
    gradient[in_contexts, k] = 0  # but for rounding it is
    distinct = np.unique(indices)
    _step(distinct if lazy else np.arange(len(params)), gradient, params, state, step)
    if not is_grouped:
        _group(indptr, indices, values, distinct, features, starts, rows, row_values)
    return len(distinct)


def compared(z, loss, n_items):
    """The loss of scores, the positive's first, and its derivatives by them."""
    d, e = z[1:] - z[0], np.zeros(len(z))
    if loss == 1:
        e[1:] = _sigmoid(d) / len(d)
        value = np.logaddexp(0, d).mean()
    elif loss == 2:
        e[1:] = np.exp(z[1:] - z.max()) / np.exp(z - z.max()).sum()
        value = np.log(np.exp(z - z.max()).sum()) + z.max() - z[0]
    else:
        violating = np.flatnonzero(d > -1)
        if not len(violating):
            return 0.0, e
        first = violating[0]
        weight = np.log(max(1, (n_items - 1) / (first + 1))) / np.log(max(2, n_items))
        e[1 + first] = weight * _sigmoid(d[first])
        value = weight * np.logaddexp(0, d[first])
    e[0] = -e[1:].sum()
    return value, e


def train_dense(
    X, labels, params, state, bias, sums, residuals, scores, w, squares, gradients, classify, step, num_threads,
    weights=None,
):  # fmt: skip
    """See `interface.Kernels.train_dense`."""
    _train(X, np.arange(len(params)), labels, params, state, bias, sums, residuals, scores, classify, step, weights)


def score_rows(
    indptr, indices, values, labels, params, w0, sums, residuals, pair_residuals, scores, classify, num_threads,
    weights=None,
):  # fmt: skip
    """See `interface.Kernels.score_rows`."""
    k = params.shape[1] - 1
    for r in range(len(labels)):
        entries = slice(indptr[r], indptr[r + 1])
        z, s = _of_entries(indices[entries], values[entries], params)
        sums[r, :k] = s
        scores[r] = _sigmoid(w0 + z) if classify else w0 + z
        residuals[r] = (scores[r] - labels[r]) * (1 if weights is None else weights[r])
        pair_residuals[r] = residuals[r] if np.count_nonzero(values[entries]) > 1 else 0
    return any(np.count_nonzero(values[a:b]) < 2 for a, b in itertools.pairwise(indptr))


def gradients(
    starts, rows, row_values, params, sums, residuals, pair_residuals, has_pairless, out, num_threads
):  # fmt: skip
    """See `interface.Kernels.gradients`."""
    for j, theta in enumerate(params.astype(float)):
        entries = slice(starts[j], starts[j + 1])
        out[j] = _gradient(rows[entries], row_values[entries].astype(float), theta, sums, residuals, pair_residuals)


def update(touched, starts, at, received, totals, params, state, step, lazy, num_threads):
    """See `interface.Kernels.update`."""
    gradient = np.zeros(params.shape)
    for j, i in enumerate(touched):
        gradient[i] = received[at[starts[j] : starts[j + 1]]].astype(float).sum(axis=0)
    _step(touched if lazy else range(len(params)), gradient, params, state, step)


def score_parts(indptr, indices, values, params, parts, num_threads):
    """See `interface.Kernels.score_parts`."""
    for r in range(len(parts)):
        entries = slice(indptr[r], indptr[r + 1])
        z, s = _of_entries(indices[entries], values[entries], params)
        parts[r] = np.append(s, z)


def add_parts(parts, w0, labels, told, scores, classify, weights=None):
    """See `interface.Kernels.add_parts`."""
    parts = parts.astype(float)
    s, own = parts[:, :, :-1], parts[:, :, -1]
    z = w0 + own.sum(axis=0) + 0.5 * (s.sum(axis=0) ** 2 - (s**2).sum(axis=0)).sum(axis=1)
    scores[:] = _sigmoid(z) if classify else z
    told[:, :-1] = s.sum(axis=0)
    told[:, -1] = (scores - labels) * (1 if weights is None else weights)


def learn_parts(features, starts, rows, row_values, told, has_pairs, params, state, lazy, step, num_threads):
    """See `interface.Kernels.learn_parts`."""
    n, width = len(has_pairs), params.shape[1]
    told = told[: n * width].reshape(n, width).astype(float)
    gradient = np.zeros(params.shape)
    for j, i in enumerate(features):
        entries = slice(starts[j], starts[j + 1])
        gradient[i] = _gradient(
            rows[entries], row_values[entries].astype(float), params[i].astype(float),
            told[:, :-1], told[:, -1], told[:, -1] * has_pairs,
        )  # fmt: skip
    _step(features if lazy else range(len(params)), gradient, params, state, step)


def predict_sparse(indptr, indices, values, w0, w, V, scores, classify, num_threads):
    """See `interface.Kernels.predict_sparse`."""
    predict_dense(_dense_rows(indptr, indices, values, len(w)), w0, w, V, scores, classify, num_threads)


def predict_dense(X, w0, w, V, scores, classify, num_threads):
    """See `interface.Kernels.predict_dense`."""
    for r, x in enumerate(X):
        z, _ = _score(x.astype(float), float(w0), w.astype(float), V.astype(float))
        scores[r] = _sigmoid(z) if classify else z


def _of_entries(keys, x, params):
    """The score without w0, and the sums s_f, of some entries of a row."""
    factors, linear = params[keys, :-1].astype(float) * x[:, np.newaxis].astype(float), params[keys, -1] @ x
    s = factors.sum(axis=0)
    return linear + 0.5 * (s**2 - (factors**2).sum(axis=0)).sum(), s


def _gradient(rows, x, theta, sums, residuals, pair_residuals):
    """G of a feature that has the values x in these rows."""
    k = len(theta) - 1
    e = pair_residuals[rows].astype(float)
    return np.append((e * x) @ sums[rows, :k].astype(float) - (e @ x**2) * theta[:k], residuals[rows].astype(float) @ x)


def _dense_rows(indptr, indices, values, feature_dim):
    X = np.zeros((len(indptr) - 1, feature_dim))
    for r in range(len(X)):
        for j in range(indptr[r], indptr[r + 1]):
            X[r, indices[j]] += values[j]
    return X


def _group(indptr, indices, values, distinct, features, starts, rows, row_values):
    order = np.argsort(indices, kind="stable")
    features[: len(distinct)] = distinct
    starts[: len(distinct) + 1] = np.append(np.searchsorted(indices[order], distinct), len(indices))
    rows[:] = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))[order]
    row_values[:] = values[order]


def _score(x, w0, w, V):
    s = x @ V
    return w0 + x @ w + 0.5 * np.sum(s**2 - x**2 @ V**2), s


def _sigmoid(z):
    return 1 / (1 + np.exp(-z))


def _train(X, touched, labels, params, state, bias, sums, residuals, scores, classify, step, weights):
    X, k = X.astype(float), params.shape[1] - 1
    V, w = params[:, :k].astype(float), params[:, k].astype(float)
    sums[:] = 0
    for r, x in enumerate(X):
        z, s = _score(x, float(bias[0]), w, V)
        sums[r, :k] = s
        scores[r] = _sigmoid(z) if classify else z
        residuals[r] = ((_sigmoid(z) if classify else z) - labels[r]) * (1 if weights is None else weights[r])
    e, s = residuals.astype(float), sums[:, :k].astype(float)
    of_pairs = e * ((X != 0).sum(1) > 1)  # of the other rows the first two terms cancel, but for rounding
    gradient = np.array(
        [np.append((of_pairs * x) @ s - (of_pairs @ x**2) * v, e @ x) for x, v in zip(X.T, V, strict=True)]
    )
    _step(touched, gradient, params, state, step)
    if step.use_bias:
        states = bias[1:, np.newaxis].astype(float)
        gradient, lr, wd = np.array([residuals.astype(float).sum()]), step.bias_lr, step.bias_wd
        bias[0] = _update(bias[:1].astype(float), states, gradient, np.array([lr]), np.array([wd]), step)[0]
        bias[1:] = states[:, 0]


def _step(touched, gradient, params, state, step):
    k, width = params.shape[1] - 1, params.shape[1]
    n_states = state.shape[1] // width
    lr = np.append(np.full(k, step.factors_lr), step.linear_lr)
    wd = np.append(np.full(k, step.factors_wd), step.linear_wd)
    for i in touched:
        states = state[i].reshape(n_states, width).astype(float)
        theta = _update(params[i].astype(float), states, gradient[i], lr, wd, step)
        changed = width if step.use_linear else k
        params[i, :changed] = theta[:changed]
        state[i].reshape(n_states, width)[:, :changed] = states[:, :changed]


def _update(theta, states, gradient, lr, wd, step):
    """Give the new theta; `states` changes in place."""
    formula, decay = _FORMULAS[step.optimizer]
    g = step.rescale_grad * gradient + (wd * theta if decay else 0)
    if step.clip_gradient > 0:
        g = np.clip(g, -step.clip_gradient, step.clip_gradient)
    return formula(theta, states, g, lr, wd, step.eps)


def _adam(theta, states, g, lr, wd, eps):
    states[0] = _BETA1 * states[0] + (1 - _BETA1) * g
    states[1] = _BETA2 * states[1] + (1 - _BETA2) * g**2
    return theta - lr * states[0] / (np.sqrt(states[1]) + eps)


def _sgd(theta, states, g, lr, wd, eps):
    return theta - lr * g


def _adagrad(theta, states, g, lr, wd, eps):
    states[0] += g**2
    return theta - lr * g / (np.sqrt(states[0]) + eps)


def _ftrl(theta, states, g, lr, wd, eps):
    moves = lr > 0
    slope = 1 / np.where(moves, lr, 1)
    n = states[1] + g**2
    z = np.where(states[1] == 0, -(slope + wd) * theta, states[0])
    z = z + g - (np.sqrt(n) - np.sqrt(states[1])) * slope * theta
    states[0] = np.where(moves, z, states[0])
    states[1] = np.where(moves, n, states[1])
    return np.where(moves, -z / ((1 + np.sqrt(n)) * slope + wd), theta)


#: Of each optimizer's number: the formula, and whether weight decay is part of its g.
_FORMULAS = {
    OPTIMIZERS["adam"].number: (_adam, True),
    OPTIMIZERS["sgd"].number: (_sgd, True),
    OPTIMIZERS["adagrad"].number: (_adagrad, True),
    OPTIMIZERS["ftrl"].number: (_ftrl, False),
}
