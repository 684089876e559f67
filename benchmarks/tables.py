"""What `fm train` with only --label achieves on real tables, next to scikit-learn's logistic regression and ridge.

    python benchmarks/tables.py [--tables adult,housing,movielens,clicks] [--threads 2] [--search 60]

Tables: ../shared/data/tables; small ones that scikit-learn brings along or makes (figures are means of 5 test parts of
a fifth each); `clicks`: a million generated rows, and 250,000 to test; and `purchases6`, `purchases30`: 6,000 and
30,000 rows whose label depends on pairs of customers and products, and little on the day. Without ../shared there are
only these.
Adult and California housing are split 80 to 20 by scikit-learn's train_test_split(random_state=0), MovieLens 100K as
its u1 is, with ratings joined with the columns of users and films. The training part is written as CSV, and `fm train`
and `fm evaluate` run as a person would run them; only `fm evaluate` reads the test part. The comparison is
OneHotEncoder for all columns of texts and few numbers, the others standardised, and LogisticRegression or Ridge, on a
DataFrame in memory. LogisticRegression has 2000 iterations, but for `clicks` the default of 100: it would need about
330.

`--search N` instead compares with the best of N models with random options: solver and its method, factors, epochs,
bins or scales of all columns of numbers or of each, columns left out or kept, rare texts, groups, rates, decay, initial
values and optimizer. The best model is the one with the best metric on the rows that `fm train` holds out (a tenth of
the training part, the same rows for all). Then the test part is scored with it, and with the model without options.
With `--journal`, a search that was interrupted goes on where it was.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from common import SHARED, describe, table

TABLES = SHARED / "data/tables"
#: Label, figure, what is asked for, and what it hopes for.
TASKS = {
    "adult": ("income", "cross_entropy", 0.295, 0.285),
    "housing": ("MedHouseVal", "rmse", 52_000, 49_000),
    "movielens": ("rating", "rmse", 0.895, 0.885),
    "clicks": ("clicked", "cross_entropy", np.nan, np.nan),
    "purchases6": ("bought", "cross_entropy", np.nan, np.nan),
    "purchases30": ("bought", "cross_entropy", np.nan, np.nan),
    "diabetes": ("target", "rmse", np.nan, np.nan),
    "breast_cancer": ("target", "cross_entropy", np.nan, np.nan),
    "wine": ("target", "cross_entropy", np.nan, np.nan),
    "iris": ("target", "cross_entropy", np.nan, np.nan),
    "digits": ("target", "cross_entropy", np.nan, np.nan),
    "friedman": ("target", "rmse", np.nan, np.nan),
    "linear": ("target", "rmse", np.nan, np.nan),
    "classes": ("target", "cross_entropy", np.nan, np.nan),
}
#: Small tables of scikit-learn's: so many test parts each, as one is but dozens of rows.
_SMALL, _SPLITS = ("diabetes", "breast_cancer", "wine", "iris", "digits", "friedman", "linear", "classes"), 5
#: Of tables of several classes: the label is whether a row is of this one.
_CLASSES = {"wine": 1, "iris": 1, "digits": 8}
_ITERATIONS = {"clicks": 100}
#: Of `clicks`: columns of texts with their numbers of values, and rows to learn from and to test.
_CLICKS = {"user": 20_000, "item": 3_000, "city": 300, "channel": 12, "device": 6}
_LEARNED, _TESTED = 1_000_000, 250_000


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", default=",".join(TASKS))
    parser.add_argument("--threads", default="2")
    parser.add_argument("--search", metavar="N", type=int, help="compare with the best of N models with random options")
    parser.add_argument("--journal", type=Path, help="file of trials: those it has are not made again")
    arguments = parser.parse_args()
    names = arguments.tables.split(",")
    if not TABLES.is_dir():
        names = [name for name in names if name.startswith(("clicks", "purchases")) or name in _SMALL]
    n = arguments.search
    peer = "scikit-learn's linear models" if n is None else f"the best of {n} searched"
    describe(f"fm train with nothing but --label, beside {peer}")
    rows = []
    for name in names:
        found = run(name, arguments.threads) if n is None else search(name, arguments.threads, n, arguments.journal)
        rows.append([name, *found])
        print(*rows[-1], file=sys.stderr, flush=True)
    if n is not None:
        table(["table", "figure", "held out", "best", "worse by", "test", "best", "worse by", "trials", "best options"],
              rows)  # fmt: skip
        return
    table(["table", "figure", "fm train", "seconds", "scikit-learn", "seconds", "asked", "hoped"], rows)


def run(name: str, threads: str) -> list[str]:
    """Train both, and give a line."""
    label, figure, asked, hoped = TASKS[name]
    found, peer = [], []
    ours = theirs = 0.0
    for state in range(_SPLITS if name in _SMALL else 1):
        train, test = parts(name, state)
        with tempfile.TemporaryDirectory() as folder:
            train.to_csv(f"{folder}/train.csv", index=False)
            test.to_csv(f"{folder}/test.csv", index=False)
            started = time.perf_counter()
            fm("train", "train.csv", "--label", label, "--out", "model", "--num-threads", threads, cwd=folder)
            ours += time.perf_counter() - started
            found.append(json.loads(fm("evaluate", "model", "test.csv", "--json", cwd=folder))[figure]["model"])
        started = time.perf_counter()
        peer.append(of_peer(train, test, label, figure, _ITERATIONS.get(name, 2000)))
        theirs += time.perf_counter() - started
        if name in _SMALL:
            print(name, state, shown(found[-1]), shown(peer[-1]), file=sys.stderr, flush=True)
    return [figure, shown(float(np.mean(found))), f"{ours:.1f}", shown(float(np.mean(peer))), f"{theirs:.1f}",
            shown(asked), shown(hoped)]  # fmt: skip


def search(name: str, threads: str, n_trials: int, journal: Path | None) -> list[str]:
    """Train without options, and with many, and give a line."""
    label, figure, _, _ = TASKS[name]
    train, test = parts(name)
    known = _read(journal, name)
    with tempfile.TemporaryDirectory() as folder:
        train.to_csv(f"{folder}/train.csv", index=False)
        test.to_csv(f"{folder}/test.csv", index=False)

        def trained(model: str, options: list[str]) -> float:
            fm("train", "train.csv", "--label", label, "--out", model, "--num-threads", threads, "--no-report",
               "--overwrite", *options, cwd=folder)  # fmt: skip
            metrics = json.loads(Path(folder, model, "metrics.json").read_text(encoding="utf-8"))
            return float(metrics["held_out"][figure]["model"] or np.inf)

        held_out = trained("model", [])
        print("default", shown(held_out), file=sys.stderr, flush=True)
        schema = json.loads(Path(folder, "model/schema.json").read_text(encoding="utf-8"))
        best, best_options, n_done = np.inf, [""], 0
        for i in range(n_trials):
            options = drawn_options(np.random.default_rng([0, i]), schema, is_classifier=figure != "rmse")
            said, started = shlex.join(options), time.perf_counter()
            found = known.get(said, np.nan)
            if np.isnan(found):
                try:
                    found = trained("trial", options)
                except subprocess.CalledProcessError as error:  # diverged
                    found = np.inf
                    print(error.stderr.strip()[-300:], file=sys.stderr)
                _write(journal, {"table": name, "trial": i, "held_out": found, "options": said})
            seconds = time.perf_counter() - started
            print(name, i, shown(found), f"{seconds:.0f} s", said, file=sys.stderr, flush=True)
            n_done += np.isfinite(found)
            if found < best:
                best, best_options = found, options
        trained("best", best_options)
        both = [
            json.loads(fm("evaluate", model, "test.csv", "--json", cwd=folder))[figure]["model"]
            for model in ("model", "best")
        ]
    return [figure, *map(shown, (held_out, best)), f"{held_out / best - 1:.2%}", *map(shown, both),
            f"{both[0] / both[1] - 1:.2%}", str(n_done), shlex.join(best_options)]  # fmt: skip


def _read(journal: Path | None, name: str) -> dict[str, float]:
    if journal is None or not journal.exists():
        return {}
    lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    return {line["options"]: line["held_out"] for line in lines if line["table"] == name}


def _write(journal: Path | None, trial: dict[str, Any]) -> None:
    if journal is not None:
        with journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(trial) + "\n")


def drawn_options(rng: np.random.Generator, schema: dict[str, Any], *, is_classifier: bool) -> list[str]:
    """Draw options of a model, as somebody who knows all of them would: each trial has a generator of its own."""
    names = [column["name"] for column in schema["columns"]]
    binned = [column["name"] for column in schema["columns"] if column["kind"] == "binned"]
    alike = [remark.split(": says what ")[0] for remark in schema.get("left_out", []) if ": says what " in remark]
    said = ["--num-factors", str(rng.choice([4, 8, 16, 32, 64])), "--min-count", str(rng.choice([1, 2, 5, 20]))]
    how = rng.choice(["as chosen", "alike", "each", "scaled"], p=[0.25, 0.35, 0.25, 0.15])
    one = int(rng.choice([10, 20, 40, 80, 160]))
    left_out = [name for name in names if rng.random() < 0.06]
    left_out = left_out if rng.random() < 0.5 else []
    said += ["--ignore", ",".join(left_out)] if left_out else []
    for name in binned:
        n_bins = int(rng.choice([0, 10, 20, 40, 80, 160])) if how == "each" else 0 if how == "scaled" else one
        if how != "as chosen" and name not in left_out:
            said += ["--bins", f"{name}:{n_bins}"] if n_bins else ["--scale", name]
    said += ["--categorical", ",".join(alike)] if alike and rng.random() < 0.3 else []
    settings: dict[str, float | str] = {}
    if rng.random() < 0.65:
        said += ["--solver", "bayes"]
        n_sweeps = int(rng.choice([0, 0, 64, 128, 256, 512]))  # 0: as many as needed
        said += ["--epochs", str(n_sweeps)] if n_sweeps else []
        if rng.random() < 0.15:
            settings["_bayes_method"] = "variational"
        if rng.random() < 0.15:
            settings["feature_groups"] = "none"
    else:
        said += ["--solver", "minibatch", "--epochs", "40"]  # at most: it stops by rows it keeps out
        settings = {
            "linear_lr": 10 ** rng.uniform(-3.5, -1), "factors_lr": 10 ** rng.uniform(-3.5, -1),
            "factors_wd": 10 ** rng.uniform(-6, -2), "linear_wd": 10 ** rng.uniform(-6, -2),
            "factors_init_sigma": 10 ** rng.uniform(-3, -0.7), "mini_batch_size": int(rng.choice([50, 100, 200, 500])),
            "_optimizer": str(rng.choice(["adam", "adagrad"], p=[0.8, 0.2])),
            "standardize": "false" if is_classifier else "true",
        }  # fmt: skip
    shown_settings = {n: v if isinstance(v, str) else f"{v:.3g}" for n, v in settings.items()}
    return said + [text for pair in shown_settings.items() for text in ("--set", "=".join(pair))]


def fm(*arguments: str, cwd: str) -> str:
    """Run a command of fm."""
    done = subprocess.run(
        [sys.executable, "-m", "fm_core", *arguments], cwd=cwd, check=True, capture_output=True, text=True,
        env={"PYTHONPATH": str(Path(__file__).resolve().parent.parent), "PATH": ""},
    )  # fmt: skip
    return done.stdout


def parts(name: str, state: int = 0) -> tuple[Any, Any]:
    """Give the training and the test part."""
    import pandas as pd
    from sklearn.model_selection import train_test_split

    if name == "clicks":
        whole = clicks(_LEARNED + _TESTED)
        return whole[:_LEARNED], whole[_LEARNED:]
    if name.startswith("purchases"):
        n = 1000 * int(name.removeprefix("purchases"))
        whole = purchases(n + 4000)
        return whole[:n], whole[n:]
    if name in _SMALL:
        return tuple(train_test_split(small(name), test_size=0.2, random_state=state))
    if name != "movielens":
        return tuple(train_test_split(pd.read_csv(TABLES / f"{name}.csv.gz"), test_size=0.2, random_state=0))
    ratings, users, items = (pd.read_parquet(TABLES / f"movielens_{part}.parquet") for part in (
        "ratings", "users", "items"))  # fmt: skip
    whole = ratings.merge(users, on="user_id").merge(items, on="movie_id")
    held = sp.load_npz(SHARED / "data/ml100k_u1/test.npz").tocsr()
    ids = held.indices.reshape(-1, 2)
    pairs = set(zip((ids.min(axis=1) + 1).tolist(), (ids.max(axis=1) - 943 + 1).tolist(), strict=True))
    is_held = np.array([pair in pairs for pair in zip(whole.user_id, whole.movie_id, strict=True)])
    assert is_held.sum() == len(ids)
    return whole[~is_held], whole[is_held]


def small(name: str) -> Any:
    """Give a table that scikit-learn brings along or makes."""
    from sklearn import datasets

    if name in ("friedman", "linear", "classes"):
        import pandas as pd

        X, y = {
            "friedman": lambda: datasets.make_friedman1(1000, noise=1.0, random_state=0),
            "linear": lambda: datasets.make_regression(600, 20, n_informative=8, noise=30, random_state=0),
            "classes": lambda: datasets.make_classification(1000, 20, n_informative=6, class_sep=0.7, random_state=0),
        }[name]()
        return pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])]).assign(target=y)
    whole = getattr(datasets, f"load_{name}")(as_frame=True).frame
    if name in _CLASSES:
        whole["target"] = (whole["target"] == _CLASSES[name]).astype(int)
    return whole


def purchases(n: int) -> Any:
    """Make rows whose label depends on pairs of two columns, a little on a third, and not on the fourth."""
    import pandas as pd

    rng = np.random.default_rng(1)
    of_customer, of_product = rng.normal(0, 1, (300, 2)), rng.normal(0, 1, (40, 2))
    customer, product, day = rng.integers(0, 300, n), rng.integers(0, 40, n), rng.integers(0, 90, n)
    score = (of_customer[customer] * of_product[product]).sum(axis=1) + 0.5 * np.sin(day / 7)
    return pd.DataFrame({
        "customer": np.char.add("c", customer.astype(str)), "product": np.char.add("p", product.astype(str)),
        "day": np.datetime64("2024-01-01") + day, "amount": np.exp(rng.normal(3, 1, n)).round(2),
        "bought": np.where(rng.random(n) < 1 / (1 + np.exp(-score)), "yes", "no"),
    })  # fmt: skip


def clicks(n: int) -> Any:
    """Make rows whose label depends on values, pairs of values, and numbers."""
    import pandas as pd

    rng = np.random.default_rng(0)
    score, total, squares = np.full(n, -1.2), np.zeros((n, 4)), np.zeros((n, 4))
    columns: dict[str, Any] = {}
    for name, n_values in _CLICKS.items():
        often = 1 / np.arange(1, n_values + 1) ** 0.9
        drawn = rng.choice(n_values, n, p=often / often.sum())
        columns[name] = np.char.add(name, drawn.astype(str))
        vectors = rng.normal(0, 0.35, (n_values, 4))[drawn]
        score += rng.normal(0, 0.5, n_values)[drawn]
        total, squares = total + vectors, squares + vectors**2
    columns["hour"] = rng.integers(0, 24, n)
    columns["age"] = np.clip(rng.normal(40, 14, n), 16, 95).astype(int)
    price = np.exp(rng.normal(3, 1, n)).round(2)
    score += (total**2 - squares).sum(axis=1) / 2
    score += 0.4 * np.sin(columns["hour"] * np.pi / 12) - 0.3 * np.log(price) - 0.0006 * (columns["age"] - 38) ** 2
    columns["price"] = np.where(rng.random(n) < 0.05, np.nan, price)
    columns["clicked"] = np.where(rng.random(n) < 1 / (1 + np.exp(-score)), "yes", "no")
    return pd.DataFrame(columns)


def of_peer(train: Any, test: Any, label: str, figure: str, iterations: int) -> float:
    """Give what a linear model of scikit-learn's gets."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.metrics import log_loss, root_mean_squared_error
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    X, y = train.drop(columns=label), train[label]
    ids = [c for c in X.columns if X[c].dtype.kind not in "biuf" or c.endswith("_id")]
    X, X_test = (part.astype(dict.fromkeys(ids, str)) for part in (X, test.drop(columns=label)))
    numbers = [c for c in X.columns if c not in ids]
    made = ColumnTransformer(
        [("ids", OneHotEncoder(handle_unknown="ignore"), ids),
         ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), numbers)]
    )  # fmt: skip
    if figure == "rmse":
        fitted = make_pipeline(made, Ridge()).fit(X, y)
        return float(root_mean_squared_error(test[label], fitted.predict(X_test)))
    fitted = make_pipeline(made, LogisticRegression(max_iter=iterations)).fit(X, y)
    return float(log_loss(test[label], fitted.predict_proba(X_test)))


def shown(value: float) -> str:
    """Give a number for people."""
    if np.isnan(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.0f}"


if __name__ == "__main__":
    main()
