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
