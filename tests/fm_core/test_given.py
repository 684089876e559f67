"""What is given to public functions is looked at before anything compiled runs: lengths, widths, kinds, labels."""

import decimal

import numpy as np
import pandas
import pytest
import scipy.sparse as sp

from fm_core import Batch, FMClassifier, FMRegressor, Hyperparameters, fit, read_meta, save_model
from fm_core.errors import ConfigError, DataError
from fm_core.hyperparameter_text import to_texts
from fm_core.kernels._metrics import classification_sums
from fm_core.model import Model

X = sp.random(40, 7, 0.4, "csr", random_state=0, dtype=np.float32)
NUMBERS = np.linspace(-1, 1, 40)
CLASSES = (NUMBERS > 0).astype(int)
KINDS = [(FMRegressor, NUMBERS), (FMClassifier, CLASSES)]


@pytest.mark.parametrize(("kind", "y"), KINDS)
@pytest.mark.parametrize(
    "labels",
    {
        "one less": lambda y: y[:-1], "half": lambda y: y[:20], "one": lambda y: y[:1], "none": lambda y: y[:0],
        "one more": lambda y: np.append(y, y[:1]), "NaN": lambda y: np.where(np.arange(40) == 3, np.nan, y),
        "infinite": lambda y: np.where(np.arange(40) == 3, np.inf, y), "a matrix": lambda y: np.stack([y, y], axis=1),
        "objects": lambda y: np.array([None, *y[1:]], object),
    }.items(),
    ids=lambda item: item[0],
)  # fmt: skip
def test_labels_of_validation_have_to_fit(kind, y, labels):
    for rows in (X, X.toarray()):
        with pytest.raises((ValueError, TypeError, DataError)):
            kind(epochs=1, num_factors=2).fit(X, y, validation=(rows, labels[1](y)))
    kind(epochs=1, num_factors=2).fit(X, y, validation=(X, y))


def test_sums_of_a_classifier_compare_lengths_themselves():
    scores = np.full(5, 0.5, np.float32)
    for n in (0, 1, 4, 6):
        with pytest.raises(ValueError, match=f"{n} labels for 5 scores"):
            classification_sums(scores, np.zeros(n, np.float32))


@pytest.mark.parametrize("kind", ["csc", "bsr", "lil", "dok", "dia"])
def test_a_matrix_of_another_kind_than_csr_is_refused(kind):
    with pytest.raises(DataError, match=f"the rows are a {kind} matrix, expected a SciPy CSR matrix"):
        Batch.from_csr(X.asformat(kind))
    with pytest.raises(DataError, match="the rows are a ndarray"):
        Batch.from_csr(X.toarray())


def csr(indices, indptr, shape, data=None):
    """A matrix that SciPy did not look at."""
    matrix = sp.csr_matrix(shape, dtype=np.float32)
    matrix.indices, matrix.indptr = np.asarray(indices), np.asarray(indptr)
    matrix.data = np.ones(len(matrix.indices), np.float32) if data is None else np.asarray(data)
    return matrix


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (csr([2**32 + 5], [0, 1], (1, 2**33)), "expected 1 to 2147483647"),
        (csr([2**32 + 5], [0, 1], (1, 9)), "row 0: key 4294967301 is not below feature_dim=9"),
        (csr([0, -1], [0, 1, 2], (2, 9)), "row 1: key -1 is not below"),
        (csr([9], [0, 0, 1], (2, 9)), "row 1: key 9 is not below feature_dim=9"),
        (csr([1], [0, 7], (1, 9)), "do not increase from 0 to at most 1"),
        (csr([1, 2], [0, 2, 1], (2, 9)), "do not increase"),
        (csr([1], [1, 1], (1, 9)), "do not increase"),
        (csr([1], [0, 1, 1], (1, 9)), "3 starts of rows, expected 2"),
        (csr([1, 2], [0, 2], (1, 9), data=[1.0]), "do not increase from 0 to at most 1"),
        (csr([1], [0, 1], (1, 9), data=["a"]), "expected numbers"),
        (csr([1], [0, 1], (1, 9), data=[1j]), "expected numbers"),
        (csr([1], [0, 1], (1, 9), data=[np.nan]), "not finite"),
        (csr([1], [0, 1], (1, 9), data=[1e39]), "not finite"),
    ],
)
def test_a_matrix_that_does_not_hold_together_is_refused(matrix, said):
    with pytest.raises(DataError, match=said):
        Batch.from_csr(matrix)


@pytest.mark.parametrize(
    "labels", [np.zeros(39), np.zeros(41), np.zeros((40, 1)), np.full(40, np.nan), np.full(40, "1"), np.full(40, 1j),
               np.full(40, None), np.zeros(40, "datetime64[s]")],
)  # fmt: skip
def test_labels_of_a_batch_have_to_fit(labels):
    for make, rows in ((Batch.from_csr, X), (Batch.from_dense, X.toarray())):
        with pytest.raises(DataError):
            make(rows, labels)


@pytest.mark.parametrize("rows", [[["a"]], [[None]], [[np.nan]], [[1e39]], [1.0], [[1j]], [[{}]]])
def test_dense_rows_have_to_be_numbers(rows):
    with pytest.raises(DataError):
        Batch.from_dense(np.asarray(rows))


@pytest.mark.parametrize("labels", [2 * CLASSES - 1, CLASSES * 5, CLASSES + 0.5])
def test_a_classifier_learns_zeros_and_ones_alone(labels):
    hyperparameters = Hyperparameters(feature_dim=7, num_factors=2, predictor_type="binary_classifier", epochs=1)
    good, bad = Batch.from_csr(X, CLASSES), Batch.from_csr(X, labels)
    with pytest.raises(DataError, match="expected 0 or 1 for a binary classifier"):
        fit(lambda epoch: [bad], hyperparameters)
    with pytest.raises(DataError, match="expected 0 or 1 for a binary classifier"):
        fit(lambda epoch: [good], hyperparameters, validation=lambda epoch: [bad])
    fit(lambda epoch: [good], hyperparameters, validation=lambda epoch: [good])


def test_numbers_of_numpy_are_parameters():
    FMClassifier(num_factors=np.int64(2), epochs=np.int32(1), shuffle=np.bool_(True), seed=np.int64(3)).fit(X, CLASSES)
    FMClassifier(num_factors=2, epochs=1, factors_lr=np.float32(0.1), bias_init_method=np.str_("normal")).fit(
        X, CLASSES
    )
    with pytest.raises(ConfigError, match="num_factors"):
        FMClassifier(num_factors=np.float64(2.5), epochs=1).fit(X, CLASSES)


def test_a_search_over_arrays_of_numpy_fits():
    from sklearn.model_selection import GridSearchCV

    search = GridSearchCV(FMClassifier(epochs=1), {"num_factors": np.arange(2, 4)}, cv=2).fit(X, CLASSES)
    assert search.best_params_["num_factors"] in (2, 3)


def test_what_the_constructor_does_not_know_survives_load_and_save(tmp_path):
    hyperparameters = Hyperparameters(
        feature_dim=7, num_factors=2, predictor_type="regressor", _optimizer="ftrl", _wd=0.5, _learning_rate=0.1
    )
    save_model(tmp_path / "a", Model.initialise(hyperparameters), to_texts(hyperparameters))
    loaded = FMRegressor.load(tmp_path / "a")
    loaded.save(tmp_path / "b")
    before, after = (read_meta(tmp_path / name)["training_parameters"] for name in "ab")
    assert after == before
    loaded.partial_fit(X, NUMBERS).save(tmp_path / "c")
    assert read_meta(tmp_path / "c")["training_parameters"]["_optimizer"] == "ftrl"
    loaded.fit(X, NUMBERS).save(tmp_path / "d")
    assert read_meta(tmp_path / "d")["training_parameters"]["_optimizer"] == "adam"


@pytest.mark.parametrize("kind", ["datetime64[s]", "timedelta64[s]"])
def test_moments_are_no_numbers_in_any_carrier(kind):
    pd = pytest.importorskip("pandas")
    moments = np.arange(40).astype(kind)
    carriers = [moments[:, None], pd.DataFrame({"a": moments}), pd.DataFrame({"a": CLASSES, "b": moments})]
    if kind.startswith("date"):
        carriers.append(pl_frame(moments))
    for rows in carriers:
        if kind.startswith("date") and rows is not carriers[0]:  # a DataFrame's dates are learned as such
            assert FMRegressor(epochs=1).fit(rows, NUMBERS).schema_.columns[-1].kind == "date"
        else:
            with pytest.raises(TypeError, match="expected numbers"):
                FMRegressor(epochs=1).fit(rows, NUMBERS)
        with pytest.raises(TypeError, match="expected numbers"):
            FMRegressor(epochs=1).fit(CLASSES[:, None], NUMBERS).predict(rows)
    for y in (moments, pd.Series(moments)):
        with pytest.raises(TypeError, match="expected numbers"):
            FMRegressor(epochs=1).fit(X, y)


def pl_frame(moments):
    return pytest.importorskip("polars").DataFrame({"a": moments.astype("datetime64[ms]")})


NOTHING = [None, float("nan"), pandas.NA, pandas.NaT, decimal.Decimal("nan"), decimal.Decimal("snan")]
HOLDERS = {
    "objects": lambda values: np.array(values, object),
    "list": list,
    "Series": lambda values: pandas.Series(values, dtype=object),
    "categories": lambda values: pandas.Series(values).astype("category"),
    "texts": lambda values: pandas.Series(values, dtype="string"),
}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("nothing", NOTHING, ids=repr)
@pytest.mark.parametrize("values", [["no", "yes", "no"], [1, 0, 1]], ids=["texts", "numbers"])
def test_a_label_that_is_missing_is_said(holder, nothing, values):
    if holder in ("texts", "categories") and isinstance(nothing, decimal.Decimal):
        pytest.skip("pandas makes no such column")
    rows, labels = np.eye(4), HOLDERS[holder]([*values, nothing])
    frame = pandas.DataFrame({"city": ["a", "b", "a", "b"]})
    good = [*values, values[0]]
    for kind in (FMClassifier, FMRegressor):
        model = kind(epochs=1, solver="minibatch")
        with pytest.raises(ValueError, match=r"row 3|contains NaN|could not convert"):
            model.fit(rows, labels)
        with pytest.raises(ValueError, match=r"row 3|contains NaN|could not convert"):
            model.fit(frame, labels)
        with pytest.raises(ValueError, match=r"row 3|contains NaN|could not convert"):
            model.partial_fit(rows, labels)
    with pytest.raises(ValueError, match=r"validation y.*(row 3|NaN)"):
        FMClassifier(epochs=1, solver="minibatch").fit(rows, good, validation=(rows, labels))


@pytest.mark.parametrize("value", [10**400, pandas.NA, decimal.Decimal("snan"), "\ud800"], ids=repr)
def test_a_value_that_is_no_number_is_said(value):
    for rows in (
        np.array([[1.0], [value]], object),
        pandas.DataFrame({"x": pandas.Series([1.0, value], dtype=object)}),
    ):
        with pytest.raises((ValueError, DataError)):
            FMRegressor(epochs=1, solver="minibatch").fit(rows, [1.0, 2.0])
