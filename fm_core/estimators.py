"""FMClassifier and FMRegressor: the solver by scikit-learn's conventions.

They fit, score and stand in pipelines and searches as any estimator does, and save and load
the artifact that SageMaker jobs write. scikit-learn is needed by this module alone, and
`fm_core` imports it on request only.

Constructor parameters are hyperparameters by SageMaker's names, made from their declarations
(fm_core/hyperparameters.py). Those that the data decides (``feature_dim``, ``predictor_type``), and those that mean
nothing in a notebook, are left out there.
"""

import dataclasses
import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from fm_core.artifact.model_file import MODEL_FILE, load_model, read_meta, save_model
from fm_core.batch import Batch
from fm_core.errors import ArtifactError
from fm_core.given import refuse_moments
from fm_core.hyperparameter_text import from_texts, to_text, to_texts
from fm_core.hyperparameters import Hyperparameters, parameters
from fm_core.model import Model
from fm_core.printable import quoted
from fm_core.solvers.minibatch import MiniBatchSolver
from fm_core.system import usable_cores
from fm_core.training.callbacks import BatchReport, EpochReport, ResumeReport, ValidationReport
from fm_core.training.fit import fit

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils.multiclass import check_classification_targets, type_of_target
    from sklearn.utils.validation import (
        check_array,
        check_consistent_length,
        check_is_fitted,
        column_or_1d,
        validate_data,
    )
except ImportError as error:
    raise ImportError(
        "FMClassifier and FMRegressor need scikit-learn 1.6 or later, which cannot be imported here: "
        "pip install scikit-learn"
    ) from error

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["FMClassifier", "FMRegressor"]

_ROWS_SCORED_AT_ONCE = 100_000

_Self = TypeVar("_Self", bound="_FactorizationMachine")
_Kind = TypeVar("_Kind", bound=type)

#: The constructor's parameters, as fm_core.hyperparameters declares them.
_PARAMETERS = {name: parameter for name, parameter in parameters().items() if parameter.in_estimators}
_TYPES = {field.name: field.type for field in dataclasses.fields(Hyperparameters)}
_SIGNATURE = inspect.Signature(
    [
        inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD),
        *(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=parameter.estimator_default,
                annotation=_TYPES[name],
            )
            for name, parameter in _PARAMETERS.items()
        ),
    ]
)


def _documented(kind: _Kind) -> _Kind:
    """Write the declarations' sentences into the docstring of an estimator."""
    entries = []
    for name, parameter in _PARAMETERS.items():
        default = parameter.estimator_default
        words = "Not set by default." if default is None else f"Default: {to_text(default)}."
        entries.append(f"{name} : {parameter.expected()}\n    {parameter.doc} {words}")
    if kind.__doc__:  # python -OO has none
        kind.__doc__ = inspect.cleandoc(kind.__doc__).replace("{hyperparameters}", "\n".join(entries))
    return kind


class _FactorizationMachine(BaseEstimator):  # type: ignore[misc]
    """What both share. A subclass says how labels become numbers."""

    _predictor_type: ClassVar[str]

    def __init__(self, **given: Any) -> None:
        try:
            named = _SIGNATURE.bind(self, **given)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}() {error}") from None
        named.apply_defaults()
        for name in _PARAMETERS:
            setattr(self, name, named.arguments[name])

    __init__.__signature__ = _SIGNATURE  # type: ignore[attr-defined]  # what get_params, clone and help go by

    # --- learning ---

    def fit(self: _Self, X: Any, y: "ArrayLike", *, validation: tuple[Any, Any] | None = None) -> _Self:
        """Learn from all rows, `epochs` times, from the start.

        Parameters
        ----------
        X : array_like, DataFrame or sparse matrix, shape (n_rows, n_features)
            Numbers. A sparse matrix stays sparse, which is fastest.
        y : array_like, shape (n_rows,)
            Two classes of any kind for a classifier, numbers for a regressor.
        validation : tuple of (X, y), optional
            Scored after every epoch; `early_stopping_patience` needs it.

        Returns
        -------
        self : estimator
        """
        refuse_moments(X, y)
        rows, targets = validate_data(self, X, y, accept_sparse="csr", dtype=np.float32, y_numeric=self._y_is_numeric)
        self.__dict__.pop("_kept", None)  # a new model is learned, by the parameters that are here
        labels = self._learn_labels(targets)
        whole = _batch(rows)
        held_out = None
        if validation is not None:
            if not isinstance(validation, tuple | list) or len(validation) != 2:
                raise ValueError(f"validation is {quoted(validation)}, expected a tuple of X and y")
            refuse_moments(*validation)
            check_consistent_length(*validation)
            kind = "numeric" if self._y_is_numeric else None
            targets = check_array(column_or_1d(validation[1]), ensure_2d=False, dtype=kind, input_name="validation y")
            held_out = self._whole_batch(validation[0]).with_labels(self._labels(targets))
        history = _History()
        result = fit(
            lambda epoch: whole.with_labels(labels).split(self.mini_batch_size),
            self._hyperparameters(whole.feature_dim),
            num_threads=self._n_threads(),
            validation=None if held_out is None else lambda epoch: held_out.split(_ROWS_SCORED_AT_ONCE),
            callback=history,
        )
        self.model_ = result.model
        self.history_ = history.epochs
        self.__dict__.pop("_solver", None)
        return self

    def _partial_fit(self: _Self, X: Any, y: "ArrayLike", classes: "ArrayLike | None") -> _Self:
        is_first = not hasattr(self, "model_")
        refuse_moments(X, y)
        rows, targets = validate_data(
            self, X, y, accept_sparse="csr", dtype=np.float32, y_numeric=self._y_is_numeric, reset=is_first
        )
        if is_first:
            labels = self._learn_labels(targets if classes is None else np.asarray(classes), targets)
        else:
            if classes is not None:
                self._labels(_two(np.asarray(classes)))  # not others than those that were learned
            labels = self._labels(targets)
        solver: MiniBatchSolver | None = getattr(self, "_solver", None)
        hyperparameters = self._hyperparameters(rows.shape[1])
        if solver is None or not solver.learn_with(hyperparameters, self._n_threads()):
            solver = MiniBatchSolver(hyperparameters, self._n_threads(), None if is_first else self.model_)
        whole = _batch(rows).with_labels(labels)
        for batch in whole.split(self.mini_batch_size):
            solver.step(batch)
        # The next step's scores would show it, and there may be none.
        occurring = np.arange(whole.feature_dim, dtype=np.int32) if whole.indices is None else np.unique(whole.indices)
        solver.check(occurring)
        self._solver = solver
        self.model_ = solver.model
        return self

    def _hyperparameters(self, feature_dim: int) -> Hyperparameters:
        kept = self.__dict__.get("_kept", {})
        given = kept | self.get_params()
        return Hyperparameters(feature_dim=feature_dim, predictor_type=self._predictor_type, **given)

    def _n_threads(self) -> int:
        return usable_cores() if self.num_threads == "auto" else int(self.num_threads)

    # --- labels ---

    _y_is_numeric: ClassVar[bool]

    def _learn_labels(self, known: "NDArray[Any]", targets: "NDArray[Any] | None" = None) -> "NDArray[np.float32]":
        """Find out which labels there are in `known`, and give those of `targets` (or of `known`) as numbers."""
        raise NotImplementedError

    def _labels(self, targets: "NDArray[Any]") -> "NDArray[np.float32]":
        """Labels as the solver learns them."""
        raise NotImplementedError

    # --- scores ---

    def _whole_batch(self, X: Any) -> Batch:
        check_is_fitted(self, "n_features_in_")
        refuse_moments(X)
        return _batch(validate_data(self, X, accept_sparse="csr", dtype=np.float32, reset=False))

    def _scores(self, X: Any, model: Model | None = None) -> "NDArray[np.float32]":
        check_is_fitted(self, "model_")
        batch = self._whole_batch(X)
        return (model or self.model_).predict(batch, self._n_threads())

    # --- files ---

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model as a training job does: `serve`, and every reader of the built-in's models, takes it.

        Parameters
        ----------
        path : path
            The file to write, or a folder that gets a ``model_algo-1``.
        """
        check_is_fitted(self, "model_")
        path = Path(path)
        hyperparameters = self._hyperparameters(self.model_.feature_dim)
        save_model(path / MODEL_FILE if path.is_dir() else path, self.model_, to_texts(hyperparameters))

    @classmethod
    def _load(cls: type[_Self], path: str | os.PathLike[str]) -> _Self:
        model = load_model(path)
        if model.predictor_type != cls._predictor_type:
            raise ArtifactError(
                f"{path} holds a {model.predictor_type}, expected a {cls._predictor_type}, which {cls.__name__} is"
            )
        stored = from_texts(read_meta(path)["training_parameters"])
        # What the file does not say was a job's default, which an estimator's is not in every case.
        estimator = cls(**{name: stored.get(name, parameter.default) for name, parameter in _PARAMETERS.items()})
        estimator.set_params(num_factors=model.num_factors)
        # What the constructor does not know, such as the optimizer, stays what it was: for `save` and `partial_fit`.
        estimator._kept = {
            name: value
            for name, value in stored.items()
            if name not in estimator.get_params() and name not in ("feature_dim", "predictor_type")
        }
        estimator.n_features_in_ = model.feature_dim
        estimator.model_ = model
        estimator.history_ = []
        return estimator

    def __getstate__(self) -> dict[str, Any]:
        # The optimizer's state is twice the size of the model, and of use to partial_fit alone.
        return {name: value for name, value in super().__getstate__().items() if name != "_solver"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


@_documented
class FMRegressor(RegressorMixin, _FactorizationMachine):  # type: ignore[misc]
    """A factorization machine that predicts a number.

    Parameters
    ----------
    {hyperparameters}

    Attributes
    ----------
    model_ : fm_core.Model
        w0, w and V.
    history_ : list of dict
        For each epoch of the last `fit`: ``{"train": {...}, "validation": {...}}``, the
        metrics by name.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        The columns, where `fit` had a DataFrame with names.

    Examples
    --------
    >>> from fm_core import FMRegressor
    >>> X, y = [[1, 0, 1], [1, 1, 0], [0, 1, 1], [0, 0, 1]], [3, 1, 2, 1]
    >>> FMRegressor(num_factors=2).fit(X, y).predict([[1, 0, 1]]).shape
    (1,)
    """

    _predictor_type = "regressor"
    _y_is_numeric = True

    def partial_fit(self, X: Any, y: "ArrayLike") -> "FMRegressor":
        """Learn from rows once, in their order, going on from what has been learned.

        A first call starts a model; after `fit`, `load` or unpickling the optimizer's moments
        start from zero.

        Parameters
        ----------
        X, y
            As for `fit`.

        Returns
        -------
        self : FMRegressor
        """
        return self._partial_fit(X, y, None)

    def predict(self, X: Any) -> "NDArray[np.float32]":
        """Predict a number for each row.

        Parameters
        ----------
        X : array_like, DataFrame or sparse matrix, shape (n_rows, n_features)

        Returns
        -------
        scores : ndarray of float32, shape (n_rows,)
        """
        return self._scores(X)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "FMRegressor":
        """Read a model file, its folder or a ``model.tar.gz``, of a job or of `save`.

        Raises
        ------
        ArtifactError
            It is no model, a damaged one, or a classifier's.
        """
        return cls._load(path)

    def _learn_labels(self, known: "NDArray[Any]", targets: "NDArray[Any] | None" = None) -> "NDArray[np.float32]":
        return self._labels(known if targets is None else targets)

    def _labels(self, targets: "NDArray[Any]") -> "NDArray[np.float32]":
        with np.errstate(over="ignore"):  # an infinity is refused by the solver
            return np.ascontiguousarray(targets, np.float32)


@_documented
class FMClassifier(ClassifierMixin, _FactorizationMachine):  # type: ignore[misc]
    """A factorization machine that tells two classes apart.

    Parameters
    ----------
    {hyperparameters}

    Attributes
    ----------
    classes_ : ndarray, shape (2,)
        The labels in order; the second is the one whose probability a score is.
    model_, history_, n_features_in_, feature_names_in_
        As for `FMRegressor`.
    """

    _predictor_type = "binary_classifier"
    _y_is_numeric = False

    def partial_fit(self, X: Any, y: "ArrayLike", classes: "ArrayLike | None" = None) -> "FMClassifier":
        """Learn from rows once, in their order, going on from what has been learned.

        A first call starts a model; after `fit`, `load` or unpickling the optimizer's moments
        start from zero.

        Parameters
        ----------
        X, y
            As for `fit`.
        classes : array_like, shape (2,), optional
            Both labels, for a first call whose `y` has only one of them.

        Returns
        -------
        self : FMClassifier
        """
        return self._partial_fit(X, y, classes)

    def predict(self, X: Any) -> "NDArray[Any]":
        """Predict the class of each row: the second where its probability is at least one half.

        Parameters
        ----------
        X : array_like, DataFrame or sparse matrix, shape (n_rows, n_features)

        Returns
        -------
        labels : ndarray, shape (n_rows,)
            Of `classes_`.
        """
        scores = self._scores(X)
        return self.classes_[(scores >= 0.5).astype(np.intp)]

    def predict_proba(self, X: Any) -> "NDArray[np.float64]":
        """Predict the probability of each class.

        Returns
        -------
        probabilities : ndarray of float64, shape (n_rows, 2)
            In the order of `classes_`.
        """
        second = self._scores(X).astype(np.float64)
        return np.column_stack([1 - second, second])

    def decision_function(self, X: Any) -> "NDArray[np.float32]":
        """Give the score of each row before the logistic function: the logarithm of the odds.

        Returns
        -------
        scores : ndarray of float32, shape (n_rows,)
        """
        check_is_fitted(self, "model_")
        of_numbers = Model("regressor", self.model_.w0, self.model_.w, self.model_.V)
        return self._scores(X, of_numbers)

    @classmethod
    def load(cls, path: str | os.PathLike[str], classes: Sequence[Any] = (0, 1)) -> "FMClassifier":
        """Read a model file, its folder or a ``model.tar.gz``, of a job or of `save`.

        Parameters
        ----------
        path : path
        classes : sequence of two labels
            What 0 and 1 stand for: the file does not know.

        Raises
        ------
        ArtifactError
            It is no model, a damaged one, or a regressor's.
        """
        estimator = cls._load(path)
        estimator.classes_ = _two(np.asarray(classes))
        return estimator

    def _learn_labels(self, known: "NDArray[Any]", targets: "NDArray[Any] | None" = None) -> "NDArray[np.float32]":
        check_classification_targets(known)
        kind = type_of_target(known, input_name="y")
        if kind != "binary":
            raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
        self.classes_ = _two(np.unique(known))
        return self._labels(known if targets is None else targets)

    def _labels(self, targets: "NDArray[Any]") -> "NDArray[np.float32]":
        # Classes are in whatever order `load` was given them. As objects, text and numbers compare, and are not equal.
        alike = targets if targets.dtype.kind == self.classes_.dtype.kind else targets.astype(object)
        first, second = (np.asarray(alike == label, bool) for label in self.classes_.tolist())
        strange = ~(first | second)
        if strange.any():
            raise ValueError(
                f"y has the class {targets[strange].tolist()[0]!r}, expected one of {self.classes_.tolist()}"
            )
        return second.astype(np.float32)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


class _History:
    """The solver's callback: keeps the metrics of every epoch."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, dict[str, float]]] = []

    def resumed(self, report: ResumeReport) -> None:
        """Not of interest, as the next three."""

    def started(self, is_dense: bool) -> None:
        """Training begins."""

    def batch(self, report: BatchReport) -> None:
        """A batch is done."""

    def remarked(self, remark: str) -> None:
        """The solver has decided something."""

    def epoch(self, report: EpochReport) -> None:
        """An epoch is done."""
        self.epochs.append({"train": report.metrics})

    def validated(self, report: ValidationReport) -> None:
        """The validation data was scored."""
        self.epochs[-1]["validation"] = report.metrics


def _two(classes: "NDArray[Any]") -> "NDArray[Any]":
    if len(classes) != 2:
        raise ValueError(f"y has {len(classes)} class{'es' * (len(classes) > 1)}, {classes.tolist()}, expected two")
    if classes[0] == classes[1]:
        raise ValueError(f"classes are {classes.tolist()}, expected two different ones")
    return classes


def _batch(rows: Any) -> Batch:
    return Batch.from_dense(rows) if isinstance(rows, np.ndarray) else Batch.from_csr(rows)
