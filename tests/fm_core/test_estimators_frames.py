"""Estimators on DataFrames with texts, categories, dates, lists and gaps, by the schema code that `fm train` uses."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from fm_core import FMClassifier, FMRegressor
from fm_core.errors import DataError
from fm_core.formats.tables import Encoder, TableSchema, frame_table
from fm_core.training.callbacks import Silent


def frame_of(n=500, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "city": rng.choice(["oslo", "rome", "lima"], n), "amount": rng.gamma(2, 100, n).round(2),
            "kind": pd.Categorical(rng.choice(["a", "b"], n)),
            "tags": [["x"], ["x", "y"], []] * (n // 3) + [["y"]] * (n % 3),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, n), unit="D"),
        }
    )  # fmt: skip
    frame.loc[::9, "amount"] = np.nan
    frame.loc[::11, "city"] = None
    return frame


def answers(frame):
    return np.where((frame.city == "oslo") ^ (frame.kind == "a"), "yes", "no")


GIVEN = {"solver": "bayes", "epochs": 20, "num_threads": 1}


def test_a_frame_of_any_columns_is_learned():
    frame = frame_of()
    fitted = FMClassifier(**GIVEN).fit(frame, answers(frame))
    assert fitted.score(frame, answers(frame)) > 0.95
    assert fitted.feature_names_in_.tolist() == list(frame.columns)
    assert fitted.n_features_in_ == 5
    new = frame_of(100, seed=1)
    new.loc[:5, "city"] = "never seen"
    assert fitted.score(new, answers(new)) > 0.9
    assert set(fitted.predict(new)) == {"yes", "no"}
    rows = Encoder(fitted.schema_, labels="none").encode(frame_table(new))
    assert (fitted.predict_proba(new)[:, 1].astype(np.float32) == fitted.model_.predict(rows)).all()
    # columns may stand in any order, and others beside them
    assert (fitted.predict(new[list(new.columns[::-1])].assign(more=1)) == fitted.predict(new)).all()
    with pytest.raises(DataError, match="there is no column 'city'"):
        fitted.predict(new.drop(columns="city"))
    with pytest.raises(DataError, match="X is a ndarray, expected a DataFrame with the columns of fit: city"):
        fitted.predict(np.zeros((2, 5)))


def test_frames_of_polars_give_the_same():
    polars = pytest.importorskip("polars")
    frame = frame_of().drop(columns="kind")
    y = frame_of().amount.fillna(0).to_numpy() * 1000 + 5e6
    a = FMRegressor(**GIVEN).fit(frame, y)
    b = FMRegressor(**GIVEN).fit(polars.from_pandas(frame), y)
    assert (a.model_.V == b.model_.V).all()
    assert (a.predict(frame) == b.predict(polars.from_pandas(frame))).all()
    assert a.score(frame, y) > 0.8  # a target far from 1 is learned as it is


def test_it_is_kept_with_the_model(tmp_path):
    frame = frame_of()
    fitted = FMClassifier(**GIVEN).fit(frame, answers(frame))
    fitted.save(tmp_path)
    assert TableSchema.load(tmp_path / "schema.json") == fitted.schema_
    for again in (FMClassifier.load(tmp_path, classes=["no", "yes"]), pickle.loads(pickle.dumps(fitted))):
        assert (again.predict(frame) == fitted.predict(frame)).all()


def test_it_stands_in_searches_and_numbers_stay_numbers():
    frame = frame_of()
    assert cross_val_score(FMClassifier(**GIVEN), frame, answers(frame), cv=3).min() > 0.9
    numbers = pd.DataFrame({"a": np.arange(40.0), "b": np.arange(40) % 3})
    plain = FMClassifier(**GIVEN).fit(numbers, np.arange(40) % 2)
    assert plain.model_.feature_dim == 2
    assert not hasattr(plain, "schema_")
    mixed = FMClassifier(**GIVEN).fit(frame, answers(frame))
    assert mixed.fit(numbers, np.arange(40) % 2).n_features_in_ == 2
    assert not hasattr(mixed, "schema_")


def test_random_state_stands_for_seed():
    frame = frame_of()
    models = [
        FMClassifier(**GIVEN, **given).fit(frame, answers(frame)).model_.V
        for given in ({"seed": 7}, {"random_state": 7}, {"random_state": 8}, {"random_state": np.random.RandomState(7)})
    ]
    assert (models[0] == models[1]).all()
    assert not (models[1] == models[2]).all()
    assert clone(FMClassifier(random_state=5)).get_params()["random_state"] == 5


def test_fit_tells_and_goes_on(capsys):
    frame, told = frame_of(), []

    class Told(Silent):
        def epoch(self, report):
            told.append(report.epoch)

    given = {"solver": "minibatch", "early_stopping": False, "epochs": 3, "num_threads": 1}
    fitted = FMClassifier(**given, verbose=True, warm_start=True).fit(frame, answers(frame), callback=Told())
    assert told == [0, 1, 2]
    assert capsys.readouterr().out.count("epoch ") == 3
    before = fitted.history_[-1]["train"]["binary_classification_cross_entropy"]
    again = fitted.fit(frame, answers(frame))
    assert again.history_[0]["train"]["binary_classification_cross_entropy"] < before
    cold = FMClassifier(**given).fit(frame, answers(frame))
    assert again.score(frame, answers(frame)) >= cold.score(frame, answers(frame))


def test_a_column_that_tells_the_label_is_warned_of():
    frame = frame_of()
    y = answers(frame)
    with pytest.warns(UserWarning, match="column 'when' alone determines the label"):
        FMClassifier(**GIVEN).fit(frame.assign(when=np.where(y == "yes", "won", "lost")), y)
    numbers = pd.DataFrame({"a": np.arange(400.0) % 7, "b": np.arange(400) * 2.5})
    with pytest.warns(UserWarning, match="column 'b' alone determines the label"):
        FMRegressor(**GIVEN).fit(numbers, np.arange(400))


# --- recommendations ---


def ratings_of(n=1500):
    rng = np.random.default_rng(2)
    user, film = rng.integers(0, 20, n), rng.integers(0, 30, n)
    frame = pd.DataFrame(
        {"user": [f"u{i}" for i in user], "film": [f"f{i}" for i in film], "genre": np.array(["sf", "drama"])[film % 2]}
    )
    return frame, 3 + np.where((user + film) % 2, 1.0, -1.0) + rng.normal(0, 0.1, n)


def test_the_best_items_are_those_of_the_full_scores():
    frame, y = ratings_of()
    model = FMRegressor(**GIVEN).fit(frame, y)
    items = frame[["film", "genre"]].drop_duplicates().assign(year=lambda found: 1950 + np.arange(len(found)))
    requests = [
        {"columns": {"user": "u3"}, "top_k": 5, "explain": 2},
        {"columns": {"user": "u4"}, "top_k": 5, "filter": {"year": {"min": 1960}}},
        {"columns": {"user": "zoe"}, "top_k": 5, "history": [{"film": "f1", "label": 4}, {"film": "f2", "label": 2}]},
    ]
    found = model.recommend(requests, items)
    for each, user, part in zip(found[:2], ("u3", "u4"), (items, items[items.year >= 1960]), strict=True):
        scores = model.predict(part.assign(user=user))
        best = part.film.to_numpy()[np.argsort(-scores, kind="stable")[:5]]
        assert [columns["film"] for columns in each.columns] == best.tolist()
        assert each.scores == pytest.approx(np.sort(scores)[::-1][:5], rel=1e-5)
    assert len(found[0].explanations) == 5
    assert {columns["genre"] for columns in found[2].columns} == {"drama"}
    again = model.recommend(requests, model.recommender(items))
    assert [each.scores.tolist() for each in again] == [each.scores.tolist() for each in found]
    with pytest.raises(DataError, match="request 0: column 'film' belongs to the catalogue"):
        model.recommend([{"columns": {"film": "f1"}, "top_k": 1}], items)
    with pytest.raises(DataError, match="the table of items holds no items"):
        model.recommend(requests, items[:0])


def test_items_of_a_model_of_numbers_are_feature_ids():
    model = FMRegressor(solver="minibatch", epochs=20, num_threads=1).fit(np.eye(6, dtype=np.float32), np.arange(6))
    items = {"name": ["x", "y", "z"], "features": ["3", "4", "5"]}
    (found,) = model.recommend([{"context": {"keys": [0], "values": [1]}, "top_k": 2}], items)
    rows = np.eye(6, dtype=np.float32)[3:] + np.eye(6, dtype=np.float32)[0]
    assert found.items.tolist() == np.argsort(-model.predict(rows))[:2].tolist()
    with pytest.raises(DataError, match="the table of items is a int"):
        model.recommender(7)


# --- what a fitted one is asked ---


def test_importances_and_reasons_have_names():
    frame = frame_of().assign(empty="same")
    fitted = FMClassifier(**GIVEN).fit(frame, answers(frame))
    found = fitted.get_feature_importance()
    assert set(list(found)[:2]) == {"city", "kind"}
    assert found["empty"] == 0  # it became no feature
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert found == fitted.get_feature_importance(frame)
    assert fitted.feature_importances_.tolist() == [found[name] for name in fitted.feature_names_in_]
    (why,) = fitted.explain(frame[:1], top=2)
    assert why["total"] == pytest.approx(fitted.decision_function(frame[:1])[0], rel=1e-5)
    assert all(name in fitted.schema_.feature_names() for share in why["pairs"] for name in share["names"])
    again = pickle.loads(pickle.dumps(fitted))
    assert again.get_feature_importance() == found


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_frame_of_users_is_ranked_and_recommended(library):
    frame, y = ratings_of()
    convert = pytest.importorskip("polars").from_pandas if library == "polars" else lambda given: given
    model = FMRegressor(**GIVEN).fit(convert(frame), y)
    items = frame[["film", "genre"]].drop_duplicates().reset_index(drop=True)
    users = pd.DataFrame({"user": ["u3", "u4"]})
    ranked = model.rank(convert(users), convert(items), top_k=4)
    found = model.recommend(convert(users), convert(items), top_k=4)
    assert len(model.recommend(convert(users), convert(items))[0].items) == 10
    for user, by_rank, by_items in zip(users.user, ranked, found, strict=True):
        scores = model.predict(convert(items.assign(user=user)))
        assert by_rank.indices.tolist() == np.argsort(-scores, kind="stable")[:4].tolist()
        assert by_rank.scores == pytest.approx(np.sort(scores)[::-1][:4], rel=1e-5)
        assert by_items.items.tolist() == by_rank.indices.tolist()
    with pytest.raises(DataError, match="column 'genre' is in neither of X and candidates"):
        model.rank(convert(users), convert(items[["film"]]))
    with pytest.raises(DataError, match="column 'user' is in both of X and candidates"):
        model.rank(convert(users), convert(items.assign(user="u3")))
    with pytest.raises(DataError, match="top_k is 3, but requests is not a DataFrame"):
        model.recommend([{"columns": {"user": "u3"}, "top_k": 1}], items, top_k=3)


def test_a_frame_is_learned_in_parts():
    frame = frame_of()
    fitted = FMClassifier(linear_lr=0.05, factors_lr=0.05, num_threads=1)
    for _ in range(20):
        for start in range(0, len(frame), 250):
            part = frame[start : start + 250]
            fitted.partial_fit(part, answers(part))
    assert len(fitted.history_) == 40
    assert fitted.score(frame, answers(frame)) > 0.9
    assert fitted.feature_names_in_.tolist() == list(frame.columns)
