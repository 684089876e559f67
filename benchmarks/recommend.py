"""Recommending: the best of a million items, fold-in of users, and learning from positives, next to NumPy and peers.

    python benchmarks/recommend.py [--part catalogue http fold-in quality speed] [--threads 2]

Quality and speed are compared with `implicit` and RankFM (`make bench-peers` creates their environments); a missing
peer is skipped. MovieLens 100K is read from ../shared/data. The settings of each method are chosen from a small grid
by positives that precede those of the test; the test chooses nothing.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from common import ROOT, SHARED, describe, in_turn, ratios, table, times, use_cores

from fm_core.analysis.fold_in import Population, fold_in
from fm_core.analysis.packed_items import PackedItems
from fm_core.analysis.ranking import contexts_of
from fm_core.analysis.ranking_metrics import AtK
from fm_core.analysis.recommendation import Recommender
from fm_core.artifact.model_file import save_model
from fm_core.batch import Batch
from fm_core.estimators import FMRegressor
from fm_core.formats.draws import draws
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model
from fm_core.solvers import registry
from fm_core.training.fit import fit

K_OF_QUALITY = 32
#: Of the trainings for the test: one alone is as far as .004 from their mean.
SEEDS = range(1, 6)
#: Positives of each user in test, and before them in validation, of users that have at least so many.
HELD_OUT, LEAST = 5, 20


def milliseconds(run: Callable[[], Any]) -> Callable[[], float]:
    """Time a call."""

    def timed() -> float:
        started = time.perf_counter()
        run()
        return 1e3 * (time.perf_counter() - started)

    return timed


# ---------------------------------------------------------------- a catalogue


N_ITEMS, N_CONTEXTS, K = 1_000_000, 64, 64


def million_items() -> Model:
    """A model of 64 contexts and a million items, factors as training leaves them.

    Most of their length is in few directions, and popular items are longer.
    """
    random = np.random.default_rng(0)
    spread = (0.3 * 0.97 ** np.arange(K)).astype(np.float32)
    V = random.standard_normal((N_CONTEXTS + N_ITEMS, K), np.float32) * spread
    w = random.standard_normal(N_CONTEXTS + N_ITEMS).astype(np.float32) / 2
    return Model("regressor", 3.5, w, V)


def processor_milliseconds(run: Callable[[], Any]) -> float:
    """Give the least processor time of a call, of all threads, of five."""
    found = []
    for _ in range(5):
        started = time.process_time()
        run()
        found.append(1e3 * (time.process_time() - started))
    return min(found)


def catalogue(threads: int, rounds: int) -> None:
    """Top 10 of a million items, k 64, one context and 64, beside NumPy's product and argpartition."""
    model = million_items()
    V, w = model.V, model.w
    rows = one_hot(np.arange(N_CONTEXTS, N_CONTEXTS + N_ITEMS, dtype=np.int32), len(w))
    packed = PackedItems(model, rows, threads)
    contexts = list(contexts_of(model, one_hot(np.arange(N_CONTEXTS, dtype=np.int32), len(w))))
    items_v, items_w = np.ascontiguousarray(V[N_CONTEXTS:]), w[N_CONTEXTS:]

    def by_numpy(n: int) -> "np.ndarray[Any, Any]":
        scores = V[:n] @ items_v.T + items_w
        best = np.argpartition(-scores, 10, axis=1)[:, :10]
        return np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), axis=1), 1)

    found = packed.best(contexts, 10, num_threads=threads)
    assert [ranked.indices.tolist() for ranked in found[:8]] == by_numpy(8).tolist()

    def ours(n: int) -> Callable[[], Any]:
        return lambda: packed.best(contexts[:n], 10, num_threads=threads)

    def numpys(n: int) -> Callable[[], Any]:
        return lambda: [by_numpy(min(n, 8)) for _ in range(max(1, n // 8))]

    rows_of_table = []
    for name, n, goal in (("one context", 1, "8 ms"), ("64 contexts", N_CONTEXTS, "2 ms each")):
        measured = in_turn({"ours": milliseconds(ours(n)), "NumPy": milliseconds(numpys(n))}, rounds)
        mine, theirs = measured["ours"], measured["NumPy"]
        rows_of_table.append(
            (name, f"{statistics.median(mine) / n:.2f} ms", f"{min(mine) / n:.2f} ms",
             f"{processor_milliseconds(ours(n)) / n:.2f} ms", f"{statistics.median(theirs) / n:.2f} ms",
             times(ratios(theirs, mine)), goal)
        )  # fmt: skip
    table(
        ("top 10 of 1,000,000 items, k 64, a context", "median", "least", "processor time", "NumPy, median",
         "NumPy / ours", "goal"),
        rows_of_table,
    )  # fmt: skip


def over_http(seconds: int) -> None:
    """The same over HTTP: p99 at 70 % of the endpoint's peak rate, beside the time without HTTP."""
    from serving import latencies, served

    model = million_items()
    body = json.dumps({"instances": [{"context": {"keys": [7], "values": [1]}, "top_k": 10}]}).encode()
    request = json.loads(body)["instances"]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "model").mkdir()
        save_model(root / "model/model_algo-1", model, {})
        lines = "\n".join(map(str, range(N_CONTEXTS, N_CONTEXTS + N_ITEMS)))
        (root / "model/catalogue.csv").write_text(f"features\n{lines}\n")
        recommender = Recommender.beside(model, root / "model")
        recommender.recommend(request)
        with served(["-m", "container.serve"], root) as port:
            peak = len(latencies(port, body, 1e6, 3e-4)) / _seconds(lambda: latencies(port, body, 1e6, 3e-4))
            before = _descendants_seconds()
            n_asked = len(latencies(port, body, 1e6, 5e-4, connections=1))
            of_endpoint = 1e3 * (_descendants_seconds() - before) / n_asked
            parts = []
            for _ in range(3):
                alone = [milliseconds(lambda: recommender.recommend(request))() for _ in range(200)]
                waits = latencies(port, body, 0.7 * peak, seconds, connections=4)
                parts.append((alone, waits))
    rows = []
    for what, i in (("without HTTP, one thread", 0), (f"over HTTP at {0.7 * peak:.0f} requests/s", 1)):
        numbers = [np.percentile(part[i], [50, 99]) for part in parts]
        median, p99 = np.median(numbers, axis=0)
        rows.append((what, f"{median:.1f} ms", f"{p99:.1f} ms"))
    alone_took = processor_milliseconds(lambda: recommender.recommend(request))
    rows.append(("processor time of a request without HTTP", f"{alone_took:.1f} ms", ""))
    rows.append(("of all processes of the endpoint", f"{of_endpoint:.1f} ms", f"{of_endpoint / alone_took:.2f} x"))
    ratio = [np.percentile(waits, 99) / np.percentile(alone, 50) for alone, waits in parts]
    rows.append(("p99 over HTTP / median without", "", f"{statistics.median(ratio):.2f} x (goal 1.5 x)"))
    table(("top 10 of 1,000,000 items, k 64, one context", "median", "p99"), rows)


def _descendants_seconds() -> float:
    """Processor time so far of the processes that this one has started, and of theirs."""
    total, todo = 0, [os.getpid()]
    while todo:
        process = todo.pop()
        for task in Path(f"/proc/{process}/task").iterdir():
            todo += [int(child) for child in (task / "children").read_text().split()]
        if process != os.getpid():
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def _seconds(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def one_hot(features: "np.ndarray[Any, Any]", feature_dim: int) -> Batch:
    """Rows of one feature."""
    n = len(features)
    return Batch.trusted(feature_dim, np.ones(n, np.float32), np.arange(n + 1, dtype=np.int64), features)


# ---------------------------------------------------------------- users folded in


def folding_in(rounds: int) -> None:
    """A user of 30 ratings, k 16."""
    n_users, n_items, k = 1000, 2000, 16
    random = np.random.default_rng(0)
    V = random.standard_normal((n_users + n_items, k)).astype(np.float32) / 4
    model = Model("regressor", 3.5, random.standard_normal(n_users + n_items).astype(np.float32) / 2, V)
    population = Population.of(model, range(n_users))
    rows = one_hot((n_users + random.choice(n_items, 30, replace=False)).astype(np.int32), n_users + n_items)
    labels = random.integers(1, 6, 30).astype(np.float64)

    def run() -> float:
        started = time.process_time()
        for _ in range(100):
            fold_in(population, contexts_of(model, rows), labels, is_classifier=False)
        return 10 * (time.process_time() - started)

    measured = in_turn({"fold": run}, rounds)["fold"]
    table(
        ("fold-in of 30 ratings, k 16", "median", "least", "goal"),
        [("processor time", f"{statistics.median(measured):.3f} ms", f"{min(measured):.3f} ms", "0.2 ms")],
    )


def folding_in_quality(threads: int) -> None:
    """RMSE of users of MovieLens 100K who were not in training: folded in, the mean user, and training anew.

    A hash picks 150 users, and half of the ratings of each, by which they are folded in; the other half is asked for.
    In six turns each user is left out once, so that chance has less of a say.
    """
    folder = SHARED / "data/ml100k_u1"
    if not folder.is_dir():
        print(f"no quality of fold-in: {folder} is absent\n")
        return
    both = [_ratings(folder / f"{name}.npz") for name in ("train", "test")]
    data = Ratings(*map(np.concatenate, zip(*both, strict=True)))
    is_given = draws(3, np.arange(len(data.labels))) < 0.5
    turn = np.empty(_USERS, int)
    turn[np.argsort(draws(7, np.arange(_USERS)))] = np.arange(_USERS) // 150  # the last turn has the 43 that are left
    rows = []
    for n_turns in (1, 7):
        errors: dict[str, list[Any]] = {"folded in": [], "the mean user": [], "trained anew": []}
        for part in range(n_turns):
            for name, found in _turn(data, turn == part, is_given, threads).items():
                errors[name] += found
        found_rmse = {name: float(np.sqrt(np.mean(np.square(each)))) for name, each in errors.items()}
        users = "150 users" if n_turns == 1 else "each user once"
        for name, value in found_rmse.items():
            goal = "at most +.004" if name == "folded in" else ""
            rows.append((f"{users}: {name}", f"{value:.4f}", f"{value - found_rmse['trained anew']:+.4f}", goal))
    table(("RMSE, half of a user's ratings given", "", "above training anew", "goal"), rows)


def _turn(data: "Ratings", is_out: "Array", is_given: "Array", threads: int) -> dict[str, list[Any]]:
    """Errors for the users who are left out."""
    asked_for = is_out[data.users] & ~is_given
    stays, n = np.cumsum(~is_out) - 1, int((~is_out).sum())
    model = _learned(data.of(~is_out[data.users]), stays, n, threads)
    anew = _learned(data.of(~asked_for), np.arange(_USERS), _USERS, threads)
    population = Population.of(model, range(n))
    errors: dict[str, list[Any]] = {"folded in": [], "the mean user": [], "trained anew": []}
    for user in np.flatnonzero(is_out).tolist():
        of_user = data.users == user
        given, asked = data.of(of_user & is_given), data.of(of_user & ~is_given)
        rows = one_hot((n + given.items).astype(np.int32), model.feature_dim)
        wanted = list(contexts_of(model, one_hot((n + asked.items).astype(np.int32), model.feature_dim)))
        for name, of_user_rows, labels in (
            ("folded in", rows, given.labels), ("the mean user", rows.slice(0, 0), given.labels[:0]),
        ):  # fmt: skip
            folded = fold_in(population, contexts_of(model, of_user_rows), labels, is_classifier=False)
            scores = np.array([item.joined_by(folded.w, folded.v).own for item in wanted])
            errors[name] += (scores - asked.labels).tolist()
        whole = one_hot_pairs(asked.users, _USERS + asked.items, _USERS + _ITEMS)
        errors["trained anew"] += (anew.predict(whole) - asked.labels).tolist()
    return errors


#: Of MovieLens 100K.
_USERS, _ITEMS = 943, 1682


Array = np.ndarray[Any, Any]


class Ratings(NamedTuple):
    """Ratings: users and items from 0 on, and labels."""

    users: Array
    items: Array
    labels: Array

    def of(self, chosen: Array) -> "Ratings":
        """Give some of them."""
        return Ratings(*(column[chosen] for column in self))


def _ratings(path: Path) -> Ratings:
    pairs = sp.load_npz(path).tocsr().indices.reshape(-1, 2)
    return Ratings(pairs[:, 0], pairs[:, 1] - _USERS, np.load(path)["y"].astype(np.float64))


def one_hot_pairs(first: "np.ndarray[Any, Any]", second: "np.ndarray[Any, Any]", feature_dim: int) -> Batch:
    """Rows of two features."""
    keys = np.column_stack([first, second]).astype(np.int32).ravel()
    return Batch.trusted(
        feature_dim, np.ones(len(keys), np.float32), np.arange(len(first) + 1, dtype=np.int64) * 2, keys
    )


def _learned(ratings: Ratings, number: "np.ndarray[Any, Any]", n_users: int, threads: int) -> Model:
    """Train on some users, who are numbered anew."""
    rows = one_hot_pairs(number[ratings.users], n_users + ratings.items, n_users + _ITEMS)
    estimator = FMRegressor(solver="bayes", num_factors=16, num_threads=threads, feature_groups=f"{n_users},{_ITEMS}",
                            epochs=300)  # fmt: skip
    model: Model = estimator.fit(rows.to_matrix(), ratings.labels).model_
    return model


# ---------------------------------------------------------------- learning from positives


class Positives(NamedTuple):
    """Positives in three parts, by time: users, and items."""

    n_users: int
    n_items: int
    train: "np.ndarray[Any, Any]"
    validation: "np.ndarray[Any, Any]"
    test: "np.ndarray[Any, Any]"


def movielens() -> Positives | None:
    """Ratings of at least 4; the last five of each user are the test, those before them the validation."""
    path = SHARED / "data/tables/movielens_ratings.parquet"
    if not path.exists():
        print(f"no quality: {path} is absent\n")
        return None
    from pyarrow import parquet

    columns = parquet.read_table(path).to_pydict()
    names = ("user_id", "movie_id", "rating", "timestamp")
    users, items, ratings, moments = (np.array(columns[name]) for name in names)
    order = np.lexsort([items, moments, users])
    pairs = np.column_stack([users, items])[order][ratings[order] >= 4] - 1
    starts = np.searchsorted(pairs[:, 0], np.arange(pairs[:, 0].max() + 2))
    part = np.zeros(len(pairs), int)
    for start, stop in itertools.pairwise(starts.tolist()):
        if stop - start >= LEAST:
            part[stop - 2 * HELD_OUT : stop - HELD_OUT] = 1
            part[stop - HELD_OUT : stop] = 2
    return Positives(int(users.max()), int(items.max()), *(pairs[part == i] for i in range(3)))


def ndcg(scores: "np.ndarray[Any, Any]", known: "np.ndarray[Any, Any]", held_out: "np.ndarray[Any, Any]") -> float:
    """NDCG at 10 of a full ranking: all items but those known, for each user with held-out ones."""
    scores = scores.astype(np.float64)
    scores[known[:, 0], known[:, 1]] = -np.inf
    users = np.unique(held_out[:, 0])
    is_relevant = np.zeros(scores.shape, bool)
    is_relevant[held_out[:, 0], held_out[:, 1]] = True
    best = np.argsort(-scores[users], axis=1, kind="stable")[:, :10]
    gains = np.take_along_axis(is_relevant[users], best, 1).astype(np.float64)
    n_relevant = is_relevant[users].sum(axis=1)
    at_k = AtK(10)
    at_k.add(gains, n_relevant, (np.arange(10) < n_relevant[:, np.newaxis]).astype(np.float64))
    return at_k.values()["ndcg_at_10"]


def ours(data: Positives, pairs: "np.ndarray[Any, Any]", settings: dict[str, Any]) -> "np.ndarray[Any, Any]":
    """Train, and give the scores of all items for each user."""
    model, _ = trained(data, pairs, settings)
    n = data.n_users
    return model.V[:n].astype(np.float64) @ model.V[n:].T.astype(np.float64) + model.w[n:]


def trained(data: Positives, pairs: "np.ndarray[Any, Any]", settings: dict[str, Any]) -> tuple[Model, float]:
    """Train, and say how much time it took of the processor, of all threads."""
    d = data.n_users + data.n_items
    hp = Hyperparameters(
        feature_dim=d, predictor_type="binary_classifier", user_features=f"0:{data.n_users}",
        item_features=f"{data.n_users}:{d}", shuffle=True, **settings,
    )  # fmt: skip
    size = hp.mini_batch_size
    pairs = np.random.default_rng(0).permutation(pairs)
    batches = [rows_of(part, data.n_users, d) for part in (pairs[i : i + size] for i in range(0, len(pairs), size))]
    started = time.process_time()
    result = fit(lambda epoch: batches, hp, num_threads=1, algorithm=registry.algorithm(hp, 1))
    return result.model, time.process_time() - started


def rows_of(pairs: "np.ndarray[Any, Any]", n_users: int, feature_dim: int) -> Batch:
    """A row for each pair."""
    keys = np.column_stack([pairs[:, 0], n_users + pairs[:, 1]]).astype(np.int32).ravel()
    n = len(pairs)
    return Batch(feature_dim, np.ones(2 * n, np.float32), 2 * np.arange(n + 1, dtype=np.int64), keys,
                 labels=np.ones(n, np.float32))  # fmt: skip


def peer(name: str) -> Callable[..., Any]:
    """Give what trains a peer in its environment."""

    def run(data: Positives, pairs: "np.ndarray[Any, Any]", settings: dict[str, Any]) -> "np.ndarray[Any, Any]":
        return run_peer(name, data, pairs, settings)[0]

    return run


def run_peer(name: str, data: Positives, pairs: "np.ndarray[Any, Any]", settings: dict[str, Any]) -> tuple[Any, float]:
    """Train a peer; its scores, and its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "positives.npz"
        np.savez(path, users=pairs[:, 0].astype(np.int32), items=pairs[:, 1].astype(np.int32), n_users=data.n_users,
                 n_items=data.n_items)  # fmt: skip
        done = subprocess.run(
            [_python(name), str(ROOT / "benchmarks/recommend_peers.py"), name, str(path)],
            input=json.dumps(settings), capture_output=True, text=True, check=False,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", **_PEER_NEEDS.get(name, {})},
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
        return np.load(path.with_name("scores.npy")), json.loads(done.stdout.splitlines()[-1])["seconds"]


#: Variables of a peer's environment: RankFM's wheel calls functions that newer C libraries lack (rankfm_finite.c).
_PEER_NEEDS = {"rankfm": {"LD_PRELOAD": str(ROOT / ".venvs/rankfm/finite.so")}}


def _python(name: str) -> str:
    return str(ROOT / ".venvs" / name / "bin/python")


def there_is(name: str) -> bool:
    """Whether a peer's environment is there; it is said if not."""
    if Path(_python(name)).exists():
        return True
    print(f"no peer {name}: run `make bench-peers` first\n")
    return False


_OURS = {"num_factors": K_OF_QUALITY, "mini_batch_size": 256, "factors_init_sigma": 0.1, "linear_lr": 0.003,
         "factors_lr": 0.003}  # fmt: skip

GRIDS: dict[str, tuple[str, Callable[..., Any], dict[str, Any], dict[str, list[Any]]]] = {
    "implicit's BPR": ("implicit", peer("implicit"), {"factors": K_OF_QUALITY, "num_threads": 1},
                       {"learning_rate": [0.01, 0.03], "regularization": [0.01, 0.03], "iterations": [30, 100]}),
    "RankFM's WARP": ("rankfm", peer("rankfm"), {"factors": K_OF_QUALITY, "max_samples": 20},
                      {"learning_rate": [0.03, 0.1], "alpha": [0.003, 0.01], "epochs": [60, 120]}),
    "pairwise": ("", ours, _OURS | {"loss": "pairwise", "negatives": 8},
                 {"factors_wd": [1e-5, 1e-4], "linear_wd": [1e-5, 1e-4], "epochs": [15, 30]}),
    "softmax": ("", ours, _OURS | {"loss": "softmax", "negatives": 64},
                {"factors_wd": [1e-4, 4e-4], "linear_wd": [1e-5, 1e-4], "epochs": [6, 12]}),
    "warp": ("", ours, _OURS | {"loss": "warp", "negatives": 32},
             {"factors_wd": [1e-5, 1e-4], "linear_wd": [1e-5, 1e-4], "epochs": [15, 30]}),
}  # fmt: skip


def quality(only: list[str]) -> None:
    """NDCG at 10 of MovieLens 100K, each with the settings that validation chose."""
    data = movielens()
    if data is None:
        return
    both = np.concatenate([data.train, data.validation])
    rows = []
    for name, (environment, train, fixed, grid) in GRIDS.items():
        if (only and name not in only) or (environment and not there_is(environment)):
            continue
        tried = []
        for settings in _points(grid):
            scores = train(data, data.train, fixed | settings)
            tried.append((ndcg(scores, data.train, data.validation), settings))
            print(f"  {name}: validation {tried[-1][0]:.4f}, {settings}", flush=True)
        best = max(tried, key=lambda each: each[0])
        found = [ndcg(train(data, both, fixed | best[1] | {"seed": seed}), both, data.test) for seed in SEEDS]
        rows.append((name, f"{best[0]:.4f}", f"{np.mean(found):.4f} ({np.std(found):.4f})",
                     " ".join(f"{k}={v}" for k, v in best[1].items())))  # fmt: skip
    print()
    table((f"MovieLens 100K, {K_OF_QUALITY} factors", "validation NDCG@10", "test NDCG@10, five seeds", "chosen"), rows)


def _points(grid: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def speed(rounds: int) -> None:
    """Pairs of a positive and a negative a second of processor time, beside `implicit`'s BPR with one thread."""
    data = movielens()
    if data is None or not there_is("implicit"):
        return
    epochs, pairs, rows = 20, data.train, []
    for k in (32, 64):
        hp = {"num_factors": k, "loss": "pairwise", "mini_batch_size": 1000, "epochs": epochs}
        for negatives in (1, 8):

            def own(hp: dict[str, Any] = hp, negatives: int = negatives) -> float:
                return negatives * epochs * len(pairs) / trained(data, pairs, hp | {"negatives": negatives})[1] / 1e6

            def theirs(k: int = k) -> float:
                settings = {"factors": k - 1, "num_threads": 1, "iterations": epochs}
                return epochs * len(pairs) / run_peer("implicit", data, pairs, settings)[1] / 1e6

            found = in_turn({"ours": own, "implicit": theirs}, rounds)
            rows.append(
                (f"k {k}, {negatives} negatives", f"{statistics.median(found['ours']):.2f} M/s",
                 f"{statistics.median(found['implicit']):.2f} M/s", times(ratios(found["ours"], found["implicit"])))
            )  # fmt: skip
    table(("pairs of positive and negative", "ours", "implicit's BPR", "ours / implicit"), rows)


def main() -> None:
    """Run what is asked for."""
    parts = ("catalogue", "http", "fold-in", "quality", "speed")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="*", choices=parts, default=parts)
    parser.add_argument("--only", nargs="*", default=[], help="for quality: only these methods")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=10, help="for http: seconds of each of three turns")
    arguments = parser.parse_args()
    use_cores(arguments.threads)
    describe("Recommending")
    if "catalogue" in arguments.part:
        catalogue(arguments.threads, arguments.rounds)
    if "http" in arguments.part:
        over_http(arguments.seconds)
    if "fold-in" in arguments.part:
        folding_in(arguments.rounds)
        folding_in_quality(arguments.threads)
    if "speed" in arguments.part:
        speed(max(1, arguments.rounds // 3))
    if "quality" in arguments.part:
        quality(arguments.only)


if __name__ == "__main__":
    main()
