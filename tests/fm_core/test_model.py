import numpy as np
import pytest

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model


def hyperparameters(**changes):
    return Hyperparameters(
        **{"feature_dim": 30_000, "num_factors": 5, "predictor_type": "regressor", "linear_init_sigma": 0.5, **changes}
    )


def test_initial_values_depend_on_the_seed_alone():
    one, four = (Model.initialise(hyperparameters(), n) for n in (1, 4))
    assert one.V.tobytes() == four.V.tobytes()
    assert one.w.tobytes() == four.w.tobytes()
    assert one.w0 == four.w0
    other = Model.initialise(hyperparameters(seed=1))
    assert not (other.V == one.V).any()
    assert other.w0 != one.w0


def test_a_longer_model_begins_as_a_shorter_one():
    short, long = (Model.initialise(hyperparameters(feature_dim=d)) for d in (1001, 5000))
    assert (long.V[:1001] == short.V).all()
    assert (long.w[:1001] == short.w).all()


def test_normal_initial_values_have_their_own_sigmas():
    model = Model.initialise(hyperparameters(factors_init_sigma=2.0))
    assert model.V.std() == pytest.approx(2, rel=0.02)
    assert model.w.std() == pytest.approx(0.5, rel=0.02)
    assert abs(model.V.mean()) < 0.02
    # no row is another's copy
    assert len(np.unique(model.V[:, 0])) > 29_000


def test_uniform_and_constant_initial_values():
    model = Model.initialise(
        hyperparameters(
            factors_init_method="uniform", factors_init_scale=0.25,
            linear_init_method="constant", linear_init_value=-3.0,
            bias_init_method="constant", bias_init_value=7.0,
        )
    )  # fmt: skip
    assert model.V.min() == pytest.approx(-0.25, abs=1e-3)
    assert model.V.max() == pytest.approx(0.25, abs=1e-3)
    assert (model.w == -3).all()
    assert model.w0 == 7


def test_terms_that_are_not_used_are_zero():
    model = Model.initialise(hyperparameters(use_bias=False, use_linear=False))
    assert model.w0 == 0
    assert not model.w.any()


def test_rows_of_another_width_are_refused():
    with pytest.raises(DataError, match="rows have feature_dim=3, expected the model's 30000"):
        Model.initialise(hyperparameters()).predict(Batch.from_dense(np.ones((1, 3))))


def test_no_rows_have_no_scores():
    model = Model.initialise(hyperparameters())
    assert model.predict(Batch.from_dense(np.empty((0, 30_000)))).shape == (0,)


def test_extreme_scores_saturate_without_a_warning():
    model = Model("binary_classifier", 0.0, np.array([1e4], np.float32), np.zeros((1, 1), np.float32))
    assert model.predict(Batch.from_dense([[1], [-1], [0]])).tolist() == [1, 0, 0.5]


@pytest.mark.parametrize(
    ("w", "V"), [(np.zeros(2), np.zeros((3, 1))), (np.zeros(3), np.zeros(3)), (np.zeros(3), np.zeros((3, 0)))]
)
def test_shapes_have_to_fit(w, V):
    with pytest.raises(ValueError, match="expected"):
        Model("regressor", 0, w.astype(np.float32), V.astype(np.float32))
