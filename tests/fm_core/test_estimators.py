"""FMClassifier and FMRegressor, by scikit-learn's own checks and by ours."""

import inspect
import pickle

import numpy as np
import pytest
import scipy.sparse

from fm_core.batch import Batch
from fm_core.errors import ArtifactError, ConfigError, DataError, DivergenceError
from fm_core.hyperparameters import Hyperparameters, parameters
from fm_core.model import Model

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils.estimator_checks import parametrize_with_checks

from fm_core.artifact.model_file import load_model, read_meta
from fm_core.estimators import FMClassifier, FMRegressor

#: What passes over all rows need: nothing chosen, nothing held out.
MINI_BATCHES = {"solver": "minibatch", "early_stopping": False}

BOTH = pytest.mark.parametrize("kind", [FMClassifier, FMRegressor])

#: Checks of scikit-learn that fail, by name, with the reason.
EXPECTED_FAILURES: dict[str, str] = {
    f"check_sample_weight_equivalence_on_{kind}_data": "what is held out, and the order of batches, is drawn by rows"
    for kind in ("dense", "sparse")
}


@pytest.mark.filterwarnings("default")
@parametrize_with_checks([FMClassifier(), FMRegressor()], expected_failed_checks=lambda _: EXPECTED_FAILURES)
def test_scikit_learn_finds_nothing_wrong(estimator, check):
    check(estimator)


def ratings(n=600, n_users=12, n_items=9, seed=0):
    """Ratings that are a product of two hidden numbers: no linear model can learn them."""
    random = np.random.default_rng(seed)
    users, items = random.integers(0, n_users, n), random.integers(0, n_items, n)
    of_user, of_item = random.choice([-1.0, 1.0], n_users), random.choice([-1.0, 1.0], n_items)
    rows = scipy.sparse.csr_array(
        (np.ones(2 * n, np.float32), np.column_stack([users, n_users + items]).ravel(), np.arange(0, 2 * n + 1, 2)),
        shape=(n, n_users + n_items),
    )
    return rows, of_user[users] * of_item[items]


def of_kind(kind, y):
    return y if kind is FMRegressor else np.where(y > 0, "liked", "left")


@BOTH
@pytest.mark.parametrize("form", ["csr_array", "csr_matrix", "coo_array", "dense", "DataFrame", "int64 indices"])
def test_interactions_are_learned_from_any_form_of_rows(kind, form):
    rows, y = ratings()
    y = of_kind(kind, y)
    if form == "csr_matrix":
        rows = scipy.sparse.csr_matrix(rows)
    elif form == "coo_array":
        rows = rows.tocoo()
    elif form == "int64 indices":
        rows.indices, rows.indptr = rows.indices.astype(np.int64), rows.indptr.astype(np.int64)
    elif form in ("dense", "DataFrame"):
        rows = rows.toarray()
    if form == "DataFrame":
        pandas = pytest.importorskip("pandas")
        rows = pandas.DataFrame(rows, columns=[f"c{i}" for i in range(rows.shape[1])])
    estimator = kind(num_factors=4, factors_init_sigma=0.1, epochs=60).fit(rows, y)
    assert estimator.score(rows, y) > 0.95
    if form == "DataFrame":
        assert estimator.feature_names_in_[3] == "c3"


@BOTH
def test_rows_with_keys_that_repeat_or_fall_are_as_good(kind):
    rows, y = ratings(n=100)
    y = of_kind(kind, y)
    jumbled = scipy.sparse.csr_array(
        (np.full(400, 0.5, np.float32), np.repeat(rows.indices.reshape(-1, 2)[:, ::-1], 2, axis=1).ravel(),
         np.arange(0, 401, 4)), shape=rows.shape,
    )  # fmt: skip
    of_rows, of_jumbled = (kind(epochs=2).fit(X, y).model_ for X in (rows, jumbled))
    np.testing.assert_array_equal(of_rows.V, of_jumbled.V)
    assert not jumbled.has_canonical_format


@BOTH
def test_a_fit_is_that_of_the_solver(kind):
    rows, y = ratings(n=130)
    estimator = kind(**MINI_BATCHES, epochs=3, shuffle=False, seed=5).fit(rows, of_kind(kind, y))
    labels = y if kind is FMRegressor else (y > 0).astype(np.float32)
    from fm_core.training.fit import fit

    hyperparameters = Hyperparameters(
        feature_dim=rows.shape[1], num_factors=8, epochs=3, mini_batch_size=50, linear_lr=0.01, factors_lr=0.01,
        predictor_type="regressor" if kind is FMRegressor else "binary_classifier", seed=5,
    )  # fmt: skip
    batches = [Batch.from_csr(rows[a : a + 50], labels[a : a + 50]) for a in (0, 50, 100)]
    model = fit(lambda epoch: batches, hyperparameters).model
    np.testing.assert_array_equal(estimator.model_.V, model.V)
    np.testing.assert_array_equal(estimator.model_.w, model.w)
    assert estimator.model_.w0 == model.w0


@BOTH
def test_partial_fits_are_one_fit_of_as_many_epochs(kind):
    rows, y = ratings(n=130)
    y = of_kind(kind, y)
    whole = kind(**MINI_BATCHES, epochs=4, shuffle=False).fit(rows, y)
    parts = kind(shuffle=False)
    for _ in range(4):
        parts.partial_fit(rows, y)
    np.testing.assert_array_equal(parts.model_.V, whole.model_.V)
    assert parts.model_.w0 == whole.model_.w0


@BOTH
def test_partial_fit_goes_on_after_fit_and_after_a_copy(kind):
    rows, y = ratings()
    y = of_kind(kind, y)
    estimator = kind(num_factors=4, factors_init_sigma=0.1, epochs=60).fit(rows, y)
    for one in (estimator, pickle.loads(pickle.dumps(estimator))):
        before = one.model_.V.copy()
        one.partial_fit(rows, y)
        assert np.abs(one.model_.V - before).max() > 0
        assert one.score(rows, y) > 0.95  # a model that began anew would know nothing after one pass


@BOTH
@pytest.mark.parametrize("dense", [False, True])
def test_other_parameters_between_two_partial_fits_leave_the_optimizers_state(kind, dense):
    rows, y = ratings(n=130)
    rows, y = rows.toarray() if dense else rows, of_kind(kind, y)
    steady, changed = kind(num_threads=1).partial_fit(rows, y), kind(num_threads=1).partial_fit(rows, y)
    for name, value in {"epochs": 7, "seed": 3, "num_threads": 3, "early_stopping_patience": 2}.items():
        steady.partial_fit(rows, y)
        changed.set_params(**{name: value}).partial_fit(rows, y)
        np.testing.assert_array_equal(changed.model_.V, steady.model_.V)
    # a rate of zero stops the factors at once, whatever Adam's moments are
    before = changed.model_.V.copy()
    changed.set_params(factors_lr=0.0).partial_fit(rows, y)
    np.testing.assert_array_equal(changed.model_.V, before)
    changed.set_params(factors_lr=0.01).partial_fit(rows, y)
    assert (before != changed.model_.V).any()
    with pytest.raises(ConfigError, match=r"with num_factors=8, expected .* with num_factors=3"):
        changed.set_params(num_factors=3).partial_fit(rows, y)


@pytest.mark.parametrize(
    ("changes", "factor", "sentence"),
    [
        ({"factors_lr": 1e39, "linear_lr": 1e39}, 1, "parameters are no longer finite"),
        ({"bias_lr": 1e39}, 1, "the bias is no longer finite"),
        ({}, 1e25, r"the bias is no longer finite .* scale labels and values down"),
        ({"bias_lr": 0.0, "use_bias": False}, 1e25, "the optimizer's state of features from 0 on is no longer finite"),
    ],
    ids=["factors", "bias", "labels", "labels without a bias"],
)
@pytest.mark.parametrize("dense", [False, True])
def test_a_partial_fit_that_diverges_says_so_at_once(changes, factor, sentence, dense):
    rows, y = ratings(n=20)
    estimator = FMRegressor(mini_batch_size=20, **changes)
    with pytest.raises(DivergenceError, match=sentence):
        estimator.partial_fit(rows.toarray() if dense else rows, y * factor)


@pytest.mark.parametrize("kind", [FMRegressor, FMClassifier])
def test_scores_that_overflow_are_refused_as_an_endpoint_does(kind):
    """A model whose factors have grown without bounds, and values without."""
    rows, y = ratings(n=20)
    estimator = kind(mini_batch_size=20, factors_lr=1e30, solver="minibatch").partial_fit(rows, of_kind(kind, y),
                     **({"classes": ["liked", "left"]} if kind is FMClassifier else {}))  # fmt: skip
    assert np.isfinite(estimator.model_.V).all()
    with pytest.raises(DataError, match=r"the score of row 0 overflows float32"):
        estimator.predict(rows)
    calm = kind(epochs=1, solver="minibatch", early_stopping=False).fit(rows, of_kind(kind, y))
    with pytest.raises(DataError, match=r"the score of row 3 overflows float32: its values are too large"):
        calm.predict(np.vstack([rows[:3].toarray(), np.full((1, rows.shape[1]), 1e30)]))


def test_partial_fit_of_a_classifier_takes_both_classes_at_first():
    rows, y = ratings(n=100)
    y = of_kind(FMClassifier, y)
    first = y == "liked"
    estimator = FMClassifier().partial_fit(rows[first], y[first], classes=["liked", "left"])
    assert estimator.classes_.tolist() == ["left", "liked"]
    assert (estimator.predict(rows) == "liked").all()
    with pytest.raises(ValueError, match="y has the class 'scorned', expected one of \\['left', 'liked'\\]"):
        estimator.partial_fit(rows[:2], ["left", "scorned"])
    with pytest.raises(ValueError, match="1 class, \\['liked'\\], expected two"):
        FMClassifier().partial_fit(rows[first], y[first])


@pytest.mark.parametrize("classes", [["no", "yes"], ["stay", "churn"], [1, 0], [1.5, -2.0], [True, False]], ids=str)
def test_a_loaded_classifier_has_its_classes_in_the_order_they_are_given(tmp_path, classes):
    rows, y = ratings(n=200)
    whole = FMClassifier(epochs=3).fit(rows, (y > 0).astype(int))
    whole.save(tmp_path / "model")
    names = np.array(classes)[(y > 0).astype(int)]
    loaded = FMClassifier.load(tmp_path / "model", classes=classes)
    other = FMClassifier.load(tmp_path / "model")
    assert (loaded.predict(rows) == loaded.classes_[whole.predict(rows)]).all()
    for one, labels in ((loaded, names), (other, (y > 0).astype(int))):
        one.partial_fit(rows, labels)
    np.testing.assert_array_equal(loaded.model_.V, other.model_.V)
    loaded.partial_fit(rows, names, classes=classes)
    with pytest.raises(ValueError, match="y has the class 'neither', expected one of"):
        loaded.partial_fit(rows[:2], ["neither", "neither"])
    with pytest.raises(
        ValueError, match=r"y has the class 'neither', expected one of|'neither', .*, expected .* one kind"
    ):
        loaded.partial_fit(rows, names, classes=["neither", classes[0]])


def test_two_classes_are_two(tmp_path):
    rows, y = ratings(n=50)
    FMClassifier(epochs=1).fit(rows, y > 0).save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"classes are \['a', 'a'\], expected two different ones"):
        FMClassifier.load(tmp_path / "model", classes=["a", "a"])


def test_probabilities_classes_and_decisions_agree():
    rows, y = ratings(n=200)
    estimator = FMClassifier().fit(rows, of_kind(FMClassifier, y))
    probabilities, decisions = estimator.predict_proba(rows), estimator.decision_function(rows)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(probabilities[:, 1], 1 / (1 + np.exp(-decisions.astype(float))), rtol=1e-5)
    assert (estimator.predict(rows) == np.where(probabilities[:, 1] >= 0.5, "liked", "left")).all()


@BOTH
def test_a_saved_model_is_the_artifact_and_loads_again(kind, tmp_path):
    rows, y = ratings(n=100)
    y = of_kind(kind, y)
    estimator = kind(num_factors=3, epochs=2, linear_wd=0.00002, clip_gradient=5.0, shuffle=False).fit(rows, y)
    estimator.save(tmp_path)
    model = load_model(tmp_path / "model_algo-1")
    assert isinstance(model, Model)
    assert read_meta(tmp_path)["training_parameters"]["linear_wd"] == "0.00002"
    loaded = kind.load(tmp_path, **({"classes": estimator.classes_} if kind is FMClassifier else {}))
    assert loaded.get_params() == estimator.get_params()
    assert (loaded.predict(rows) == estimator.predict(rows)).all()
    estimator.save(tmp_path / "another")
    assert kind.load(tmp_path / "another").n_features_in_ == rows.shape[1]
    loaded.partial_fit(rows, y)


def test_a_model_of_the_other_kind_is_refused(tmp_path):
    rows, y = ratings(n=50)
    FMRegressor(epochs=1).fit(rows, y).save(tmp_path / "model")
    with pytest.raises(ArtifactError, match="holds a regressor, expected a binary_classifier for FMClassifier"):
        FMClassifier.load(tmp_path / "model")


def test_a_real_model_of_the_built_in_loads(shared):
    estimator = FMRegressor.load(shared / "reference_runs/ml100k_reg_k64_e50_b1000.model.tar.gz")
    assert estimator.num_factors == estimator.model_.num_factors
    assert estimator.predict(scipy.sparse.csr_array((1, estimator.n_features_in_))) == np.float32(estimator.model_.w0)


@BOTH
def test_an_estimator_that_was_not_fitted_says_so(kind, tmp_path):
    with pytest.raises(NotFittedError):
        kind().save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def of_scikit_learn(kind):
    return {"random_state", "verbose", "warm_start"} | ({"class_weight"} if kind is FMClassifier else set())


@BOTH
def test_every_hyperparameter_that_means_something_here_can_be_given(kind):
    left_out = {
        "feature_dim",
        "predictor_type",
        "batch_metrics_publish_interval",
        "max_bad_records",
        "positive_class_weight",
        "standardize",
    }
    left_out |= {"checkpoint_interval_s"}
    expected = {name for name in parameters() if not name.startswith("_")} - left_out
    assert set(inspect.signature(kind).parameters) == expected | of_scikit_learn(kind)


@BOTH
def test_what_can_be_given_is_documented_and_nothing_else_is_taken(kind):
    for name, parameter in inspect.signature(kind).parameters.items():
        if name in of_scikit_learn(kind):
            assert f"\n{name} : " in kind.__doc__
            continue
        declared = parameters()[name]
        assert f"\n{name} : {declared.expected()}\n    {declared.doc}" in kind.__doc__
        assert parameter.default == declared.estimator_default
        assert getattr(kind(), name) == parameter.default
    with pytest.raises(TypeError, match=rf"{kind.__name__}\(\) got an unexpected keyword argument 'factors'"):
        kind(factors=3)


def test_defaults_differ_from_sagemakers_where_the_docs_say_so(root):
    table = parameters()
    differ = {
        name: parameter.default
        for name, parameter in inspect.signature(FMRegressor).parameters.items()
        if name in table and parameter.default != table[name].default
    }
    page = (root / "docs/how-to/python.md").read_text()
    for name, default in differ.items():
        words = str(default).lower() if isinstance(default, bool) else default
        assert f"| `{name}` | {words} |" in page
    table_of_page = page.split("| parameter |")[1].split("\n\n")[0]
    assert table_of_page.count("\n| `") == len(differ)


def test_a_bad_hyperparameter_is_said_by_name():
    rows, y = ratings(n=10)
    with pytest.raises(ConfigError, match="epochs is 0, expected an integer of at least 1"):
        FMRegressor(epochs=0).fit(rows, y)


def test_early_stopping_keeps_the_best_epoch_and_history_tells():
    rows, y = ratings(n=300)
    estimator = FMRegressor(epochs=200, early_stopping_patience=3, factors_init_sigma=0.1)
    estimator.fit(rows[:200], y[:200], validation=(rows[200:], y[200:]))
    curve = [epoch["validation"]["mse"] for epoch in estimator.history_]
    assert len(curve) < 200
    assert int(np.argmin(curve)) == len(curve) - 4
    assert np.mean((estimator.predict(rows[200:]) - y[200:]) ** 2) == pytest.approx(min(curve), rel=1e-5)
    with pytest.raises(ConfigError, match="needs validation data"):
        estimator.fit(rows, y)


def test_estimators_stand_in_pipelines_and_searches():
    pandas = pytest.importorskip("pandas")
    rows, y = ratings()
    table = pandas.DataFrame({"user": rows.indices[::2], "item": rows.indices[1::2]}).astype(str)
    pipeline = make_pipeline(OneHotEncoder(handle_unknown="ignore"), FMRegressor(factors_init_sigma=0.1))
    assert cross_val_score(pipeline, table, y, cv=3).min() > 0.8
    search = GridSearchCV(clone(pipeline), {"fmregressor__num_factors": [1, 4]}, cv=2).fit(table, y)
    assert search.best_score_ > 0.8


@pytest.mark.parametrize("solver", ["auto", "bayes"])
def test_targets_of_any_scale_are_learned(solver):
    rng = np.random.default_rng(0)
    X = rng.normal([3, 2000, 0.01], [1, 5, 0.001], size=(400, 3))
    y = 2e5 + 5e4 * ((X - X.mean(axis=0)) / X.std(axis=0)) @ [1, -2, 0.5]
    found = FMRegressor(solver=solver).fit(X[:300], y[:300])
    assert found.score(X[300:], y[300:]) > 0.9
    assert np.isfinite(found.history_[-1]["train"]["rmse"])


def test_mini_batches_hold_a_share_out_unless_they_are_asked_not_to():
    rows, y = ratings(n=300)
    assert "validation" in FMRegressor(solver="minibatch", epochs=3).fit(rows, y).history_[0]
    assert "validation" not in FMRegressor(**MINI_BATCHES, epochs=3).fit(rows, y).history_[0]
    assert "validation" not in FMRegressor(epochs=3).fit(rows, y).history_[0]  # solver bayes, of sparse rows
    assert "validation" in FMRegressor().fit(rows.toarray() + 1, y).history_[0]


def test_standard_deviations_are_given_saved_and_read_and_refused_in_a_sentence(tmp_path):
    rng = np.random.default_rng(0)
    rows = scipy.sparse.csr_array(scipy.sparse.random(300, 30, 0.1, random_state=rng, dtype=np.float32))
    y = rows.sum(axis=1) + rng.normal(0, 0.5, 300)
    fitted = FMRegressor(epochs=30, num_factors=4).fit(rows, y)
    scores, std = fitted.predict(rows, return_std=True)
    np.testing.assert_array_equal(scores, fitted.predict(rows))
    assert 0.8 < np.mean(np.abs(scores - y) < 1.645 * std) < 0.99
    fitted.save(tmp_path)
    again = FMRegressor.load(tmp_path)
    for copy in (again, pickle.loads(pickle.dumps(again))):
        np.testing.assert_array_equal(copy.predict(rows, return_std=True)[1], std)
    classifier = FMClassifier(epochs=30, num_factors=4).fit(rows, y > np.median(y))
    probabilities, std = classifier.predict_proba(rows, return_std=True)
    np.testing.assert_array_equal(probabilities, classifier.predict_proba(rows))
    assert ((std > 0) & (std < 0.5)).all()
    plain = FMRegressor(solver="minibatch", epochs=1, early_stopping=False).fit(rows, y)
    with pytest.raises(DataError, match="the model has no spread: train it with solver bayes"):
        plain.predict(rows, return_std=True)


@BOTH
@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_integer_weights_are_as_many_rows_where_nothing_is_drawn(kind, form):
    """All rows in one batch, none held out: what scikit-learn's check compares, but for float32's rounding."""
    X, numbers = ratings(80)
    y, weights = of_kind(kind, numbers), np.random.default_rng(0).integers(0, 4, 80)
    X = X.toarray() if form == "dense" else X.tocsr()
    made = {**MINI_BATCHES, "mini_batch_size": 1000, "shuffle": False, "epochs": 5}
    repeated = np.repeat(np.arange(80), weights)
    weighted = kind(**made).fit(X, y, sample_weight=weights).model_
    plain = kind(**made).fit(X[repeated], y[repeated]).model_
    np.testing.assert_allclose(weighted.V, plain.V, atol=1e-5)
    np.testing.assert_allclose(weighted.w, plain.w, atol=1e-5)


@BOTH
def test_weights_count_in_every_way_of_learning(kind):
    X, numbers = ratings(300)
    y, weights = of_kind(kind, numbers), np.where(numbers > 0, 8.0, 1.0)
    known = {} if kind is FMRegressor else {"classes": ["left", "liked"]}
    for learn in (
        lambda **how: kind(solver="bayes", epochs=20).fit(X, y, **how),
        lambda **how: kind(solver="online").fit(X, y, **how),
        lambda **how: kind(**MINI_BATCHES, epochs=3).fit(X, y, **how),
        lambda **how: kind(**MINI_BATCHES).partial_fit(X, y, **known, **how),
    ):
        plain, weighted, ones = learn(), learn(sample_weight=weights), learn(sample_weight=np.ones(300))
        scores = [
            each.predict(X) if kind is FMRegressor else each.predict_proba(X)[:, 1] for each in (plain, weighted, ones)
        ]
        np.testing.assert_allclose(scores[2], scores[0], atol=1e-4)
        assert np.abs(scores[1] - scores[0]).max() > 1e-3
    assert [list(epoch) for epoch in plain.history_] == [["train"]]
    for wrong, said in (
        (-weights, "expected finite numbers of at least 0"), (0 * weights, "0 in every row"),
        (weights[:7], "7 numbers for 300 rows"), (weights * np.nan, "NaN"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            kind().fit(X, y, sample_weight=wrong)


def test_weights_of_classes_are_weights_of_their_rows():
    rows, y = ratings()
    named = np.where(y > 0, "rare", "usual")
    chosen = np.flatnonzero((named == "usual") | (np.arange(len(y)) % 5 == 0))
    rows, named = rows[chosen], named[chosen]
    given = {"num_threads": 1, "epochs": 10}
    n_rare = int((named == "rare").sum())
    for how in ({"solver": "bayes"}, MINI_BATCHES):
        balanced = FMClassifier(**given, **how, class_weight="balanced").fit(rows, named)
        each = {"rare": len(named) / (2 * n_rare), "usual": len(named) / (2 * (len(named) - n_rare))}
        by_hand = FMClassifier(**given, **how).fit(rows, named, np.vectorize(each.get)(named))
        told = FMClassifier(**given, **how, class_weight=each).fit(rows, named, np.ones(len(named)))
        assert (balanced.model_.V == by_hand.model_.V).all()
        assert (told.model_.V == by_hand.model_.V).all()
        plain = FMClassifier(**given, **how).fit(rows, named)
        assert balanced.predict_proba(rows)[:, 0].mean() > plain.predict_proba(rows)[:, 0].mean()
    # validation data counts as training data does
    curves = [
        FMClassifier(**given, **MINI_BATCHES, class_weight={"rare": 3})
        .fit(rows, named, validation=(rows, named))
        .history_,
        FMClassifier(**given, **MINI_BATCHES)
        .fit(rows, named, np.where(named == "rare", 3, 1), validation=(rows, named))
        .history_,
    ]
    assert curves[0][0]["train"] == curves[1][0]["train"]
    assert curves[0][0]["validation"] != curves[1][0]["validation"]
    in_parts = FMClassifier(**given, class_weight={"rare": 3}).partial_fit(rows, named)
    as_rows = FMClassifier(**given).partial_fit(rows, named, sample_weight=np.where(named == "rare", 3, 1))
    assert (in_parts.model_.V == as_rows.model_.V).all()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"other": 2}, r"class_weight has the class 'other', expected some of \['left', 'liked'\]"),
        ({"left": -1}, "class_weight of 'left' is -1, expected a finite number of at least 0"),
        ({"left": "2"}, "class_weight of 'left' is '2', expected a finite number"),
        ({"left": np.inf}, "class_weight of 'left' is inf, expected a finite number"),
        ({"left": 0, "liked": 0}, "it gives every row the weight 0, expected some above 0"),
        ("heavy", "class_weight is 'heavy', expected a dict, 'balanced' or None"),
        (3, "class_weight is 3, expected a dict, 'balanced' or None"),
    ],
)
def test_what_is_no_weight_of_classes_is_said(given, sentence):
    rows, y = ratings(n=20)
    with pytest.raises(ValueError, match=sentence):
        FMClassifier(class_weight=given).fit(rows, of_kind(FMClassifier, y))
    with pytest.raises(ValueError, match="'balanced', which needs all rows at once"):
        FMClassifier(class_weight="balanced").partial_fit(rows, of_kind(FMClassifier, y))


def test_importances_of_numbers_are_by_their_place_and_reasons_add_up():
    random = np.random.default_rng(0)
    X = random.normal(0, 1, (300, 4)).astype(np.float32)
    fitted = FMRegressor(num_threads=1, **MINI_BATCHES).fit(X, 3 * X[:, 2] + X[:, 0] * X[:, 2])
    found = fitted.get_feature_importance()
    assert list(found)[:2] == [2, 0]
    assert fitted.feature_importances_.tolist() == [found[i] for i in range(4)]
    for row, why in zip(fitted.predict(X[:3]), fitted.explain(X[:3], top=1), strict=True):
        shares = [share["share"] for share in (*why["features"], *why["pairs"])]
        assert len(shares) == 2
        assert why["bias"] + sum(shares) + why["rest"] == pytest.approx(row, rel=1e-5)
    sides = np.array([[1, 0, 0, 0], [2, 0, 0, 0]], np.float32), np.eye(4, dtype=np.float32)[1:]
    for scores, side in zip(fitted.rank(*sides), sides[0], strict=True):
        assert scores.scores.tolist() == pytest.approx(np.sort(fitted.predict(sides[1] + side))[::-1], rel=1e-5)
    fitted.partial_fit(X, X[:, 1])
    with pytest.raises(AttributeError, match="call get_feature_importance with rows"):
        fitted.get_feature_importance()
    assert len(fitted.get_feature_importance(X)) == 4
