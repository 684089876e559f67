"""fm evaluate of users' items, beside trec_eval and scikit-learn."""

import json
import re

import numpy as np
import pytest

from fm_core.artifact.model_file import save_model
from fm_core.batch import Batch
from fm_core.cli import main
from fm_core.formats.tables.schema import Column, TableSchema
from fm_core.model import Model

N_USERS, N_FILMS, K = 15, 40, 5
SCHEMA = TableSchema(
    (
        Column("user", "categorical", tuple(f"u{i}" for i in range(N_USERS))),
        Column("film", "categorical", tuple(f"f{i}" for i in range(N_FILMS))),
    ),
    label="rating",
)
OPTIONS = ["--user", "user", "--items", "film", "--top", str(K), "--relevant", "4"]


def ratings(seed, n=150):
    random = np.random.default_rng(seed)
    pairs = random.permutation(N_USERS * N_FILMS)[:n]
    return pairs // N_FILMS, pairs % N_FILMS, random.integers(1, 6, n)


def write(path, users, films, labels):
    rows = [f"u{u},f{f},{y}\n" for u, f, y in zip(users, films, labels, strict=True)]
    path.write_text("user,film,rating\n" + "".join(rows))
    return path


@pytest.fixture
def model():
    random = np.random.default_rng(1)
    d = SCHEMA.feature_dim
    return Model("regressor", 3, random.standard_normal(d).astype(np.float32),
                 random.standard_normal((d, 3)).astype(np.float32))  # fmt: skip


@pytest.fixture
def folder(model, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    save_model(folder / "model_algo-1", model, {"user_features": f"0:{N_USERS}", "ranking_k": "3"})
    SCHEMA.save(folder / "schema.json")
    return folder


def scores_of(model, users, films):
    keys = np.column_stack([users, N_USERS + np.asarray(films)]).astype(np.int32).ravel()
    n = len(users)
    return model.predict(Batch(SCHEMA.feature_dim, np.ones(2 * n, np.float32), 2 * np.arange(n + 1), keys))


def said(capfd, *arguments, status=0):
    assert main([str(word) for word in arguments]) == status
    out, err = capfd.readouterr()
    return out if status == 0 else err


def evaluated(capfd, *arguments):
    return json.loads(said(capfd, "evaluate", *arguments, "--json"))["rankings"]


def of_trec_eval(judged, run, k):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    wanted = {f"ndcg_cut.{k}", f"P.{k}", f"recall.{k}", f"map_cut.{k}", "recip_rank"}
    found = pytrec_eval.RelevanceEvaluator(judged, wanted).evaluate(run).values()
    means = {
        name: np.mean([each[of] for each in found])
        for name, of in (("ndcg", f"ndcg_cut_{k}"), ("precision", f"P_{k}"), ("recall", f"recall_{k}"),
                         ("map", f"map_cut_{k}"))
    }  # fmt: skip
    means["mrr"] = np.mean([each["recip_rank"] if each["recip_rank"] > 1 / (k + 0.5) else 0 for each in found])
    return {f"{name}_at_{k}": value for name, value in means.items()}


def test_the_rows_of_each_user_are_ordered(folder, model, tmp_path, capfd):
    users, films, labels = ratings(0)
    labels = (labels >= 4).astype(int)
    path = write(tmp_path / "test.csv", users, films, labels)
    judged, run = {}, {}
    for user, film, label, score in zip(users, films, labels, scores_of(model, users, films), strict=True):
        judged.setdefault(f"u{user}", {})[f"f{film}"] = int(label)
        run.setdefault(f"u{user}", {})[f"f{film}"] = float(score)
    judged = {user: films for user, films in judged.items() if any(films.values())}
    found = evaluated(capfd, folder, path, *OPTIONS[:6])
    shown = {film for films in run.values() for film in sorted(films, key=films.get)[-K:]}
    assert found.pop(f"coverage_at_{K}") == pytest.approx(len(shown) / len(set(films.tolist())))
    assert found == pytest.approx(of_trec_eval(judged, run, K))


def test_all_items_are_ordered_less_those_of_training(folder, model, tmp_path, capfd):
    seen, held_out = ratings(1, 300), ratings(2, 120)
    judged, run = {}, {}
    known = set(zip(seen[0].tolist(), seen[1].tolist(), strict=True))
    items = sorted(set(seen[1].tolist()))
    for user, film, label in zip(*map(np.ndarray.tolist, held_out), strict=True):
        if label >= 4 and (user, film) not in known:
            judged.setdefault(f"u{user}", {})[f"f{film}"] = 1
    shown = set()
    for user in {int(u) for u, y in zip(held_out[0], held_out[2], strict=True) if y >= 4}:
        candidates = [film for film in items if (user, film) not in known]
        scores = scores_of(model, np.full(len(candidates), user), candidates)
        run[f"u{user}"] = {f"f{film}": float(score) for film, score in zip(candidates, scores, strict=True)}
        shown |= {candidates[i] for i in np.argsort(-scores)[:K]}
    paths = [write(tmp_path / f"{name}.csv", *rows) for name, rows in (("seen", seen), ("test", held_out))]
    found = evaluated(capfd, folder, paths[1], *OPTIONS, "--seen", paths[0])
    assert found.pop(f"coverage_at_{K}") == pytest.approx(len(shown) / len(items))
    assert found == pytest.approx(of_trec_eval(judged, run, K))


def test_what_is_not_said_is_as_it_was_in_training(folder, tmp_path, capfd):
    path = write(tmp_path / "test.csv", *ratings(0))
    found = evaluated(capfd, folder, path)
    assert set(found) == {f"{name}_at_3" for name in ("ndcg", "precision", "recall", "map", "mrr")}
    assert found == evaluated(capfd, folder, path, "--user", f"0:{N_USERS}", "--top", 3)
    text = said(capfd, "evaluate", folder, path)
    assert re.search(rf"the first 3 of each user's rows:\n  NDCG +{found['ndcg_at_3']:.4f}\n", text)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--user", "nobody"], "--user names column 'nobody', which the schema does not have"),
        (["--user", "user", "--seen", "test.csv"], "--seen needs --items"),
        (["--user", "0:1000"], "expected ranges within 0:55"),
        (["--user", "user", "--top", "0"], "ranking_k is 0"),
        ([*OPTIONS, "--seen", "absent.csv"], "absent.csv"),
    ],
)
def test_what_cannot_be_ranked_is_said(folder, tmp_path, capfd, monkeypatch, options, sentence):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "test.csv", *ratings(0))
    said_so = said(capfd, "evaluate", folder, "test.csv", *options, status=1)
    assert sentence in said_so
    assert said_so.count("\n") == 1


def test_nothing_says_who_users_are(model, tmp_path, capfd):
    save_model(tmp_path / "model_algo-1", model, {})
    SCHEMA.save(tmp_path / "schema.json")
    path = write(tmp_path / "test.csv", *ratings(0))
    assert "--top needs --user" in said(capfd, "evaluate", tmp_path, path, "--top", 3, status=1)
    assert "rankings" not in json.loads(said(capfd, "evaluate", tmp_path, path, "--json"))


def test_a_classifier_has_areas_under_its_curves(model, tmp_path, capfd):
    metrics = pytest.importorskip("sklearn.metrics")
    classifier = Model("binary_classifier", 0, model.w, model.V)
    save_model(tmp_path / "model_algo-1", classifier, {})
    SCHEMA.save(tmp_path / "schema.json")
    users, films, labels = ratings(4)
    labels = (labels >= 4).astype(int)
    path = write(tmp_path / "test.csv", users, films, labels)
    found = json.loads(said(capfd, "evaluate", tmp_path, path, "--json"))
    scores = scores_of(classifier, users, films)
    assert found["auc"]["model"] == pytest.approx(metrics.roc_auc_score(labels, scores))
    assert found["pr_auc"] == {
        "model": pytest.approx(metrics.average_precision_score(labels, scores)),
        "baseline": pytest.approx(labels.mean()),
    }
