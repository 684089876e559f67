"""A loaded estimator is the one that was saved: its parameters, those it was not given, and what a new fit makes."""

import numpy as np
import pytest
import scipy.sparse as sp

pytest.importorskip("sklearn")

from fm_core import FMClassifier, FMRegressor

X = sp.random(50, 6, 0.4, "csr", random_state=0, dtype=np.float32)
Y = X.toarray()[:, 0] * 2 + X.toarray()[:, 1] * X.toarray()[:, 2] + 1
GIVEN = {
    "nothing": {}, "bayes": {"solver": "bayes"}, "online": {"solver": "online"}, "minibatch": {"solver": "minibatch"},
    "epochs": {"solver": "bayes", "epochs": 4},
    "stopping": {"solver": "minibatch", "early_stopping": False, "epochs": 3},
    "numbers": {"solver": "minibatch", "epochs": 2, "clip_gradient": 0.5, "factors_lr": 0.25, "seed": 2**40},
}  # fmt: skip


@pytest.mark.parametrize("kind", [FMRegressor, FMClassifier])
@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_a_loaded_estimator_fits_as_the_saved_one_does(kind, given, tmp_path):
    y = Y if kind is FMRegressor else (Y > 1.5).astype(int)
    saved = kind(num_factors=2, **given).fit(X, y)
    saved.save(tmp_path / "first")
    loaded = kind.load(tmp_path / "first")
    loaded.save(tmp_path / "second")
    again = kind.load(tmp_path / "second")
    assert saved.get_params() == loaded.get_params() == again.get_params()
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    expected = saved.predict(X)
    for estimator in (loaded, again, again.fit(X, y)):
        np.testing.assert_array_equal(estimator.predict(X), expected)


def test_wide_floats_of_numpy_are_numbers():
    given = FMRegressor(num_factors=2, solver="minibatch", epochs=1, factors_lr=np.longdouble("0.1")).fit(X, Y)
    plain = FMRegressor(num_factors=2, solver="minibatch", epochs=1, factors_lr=0.1).fit(X, Y)
    np.testing.assert_array_equal(given.predict(X), plain.predict(X))


CLASSES = [
    "ab", {0, 1}, {0: 1, 1: 2}, 3, None, [], [None, "a"], [float("nan"), 1], [0, "a"], ["a", "a"], ["a", "b", "c"],
    ["a"], [1, 1.0], iter([0, 1]),
]  # fmt: skip


@pytest.mark.parametrize("classes", CLASSES, ids=lambda classes: type(classes).__name__)
def test_what_are_no_two_classes_is_said(classes, tmp_path):
    y = (Y > 1.5).astype(int)
    saved = FMClassifier(num_factors=2, solver="bayes", epochs=1).fit(X, y)
    saved.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"^(classes are|y has \d class)"):
        FMClassifier.load(tmp_path / "model", classes=classes)
    if classes is not None:
        with pytest.raises(ValueError, match=r"^(classes are|y has \d class|Only binary)"):
            FMClassifier(num_factors=2, epochs=1).partial_fit(X, y, classes=classes)
        with pytest.raises(ValueError, match=r"^(classes are|y has \d class)"):
            saved.partial_fit(X, y, classes=classes)
