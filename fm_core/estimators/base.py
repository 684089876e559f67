"""The base of both estimators: parameters, training, scores, files; asked.py has the other methods.

A subclass defines how labels become numbers, and the weight of a class.
"""

import dataclasses
import inspect
import numbers
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from fm_core.artifact.model_file import MODEL_FILE, load_model, read_meta, save_model
from fm_core.artifact.spread_file import save_spread
from fm_core.batch import Batch
from fm_core.errors import ArtifactError
from fm_core.estimators.asked import Asked
from fm_core.estimators.classes import named_classes, two_classes
from fm_core.formats import SCHEMA_FILE
from fm_core.formats.tables.frames import is_frame
from fm_core.formats.tables.mixed_frames import MixedFrame, is_mixed
from fm_core.formats.tables.schema import TableSchema
from fm_core.given import check_scores, refuse_gaps, refuse_masked, refuse_moments
from fm_core.hyperparameter_text import from_texts, to_text, to_texts
from fm_core.hyperparameters import Hyperparameters, parameters
from fm_core.metrics import metrics_for
from fm_core.model import Model
from fm_core.printable import quoted
from fm_core.resources import usable_cores
from fm_core.solvers.minibatch import MiniBatchSolver
from fm_core.training.callbacks import Callback, History, Spoken, Together
from fm_core.training.in_memory import fit_rows

try:
    from sklearn.base import BaseEstimator
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

__all__ = ["FactorizationMachine", "declared"]

_Self = TypeVar("_Self", bound="FactorizationMachine")
_Kind = TypeVar("_Kind", bound=type)

#: The constructor's parameters, as fm_core.hyperparameters declares them.
_PARAMETERS = {name: parameter for name, parameter in parameters().items() if parameter.in_estimators}
#: Those that are not hyperparameters, with what is said of them.
_OTHERS: dict[str, tuple[Any, str]] = {
    "random_state": (
        None,
        "int, RandomState or None\n    scikit-learn's name for `seed`; if set, it is used. Not set by default.",
    ),
    "warm_start": (False, "bool\n    Whether `fit` starts from the current model. Default: false."),
    "verbose": (False, "bool\n    Whether to print a line for every epoch. Default: false."),
}
_TYPES = {field.name: field.type for field in dataclasses.fields(Hyperparameters)}


def _signature(others: dict[str, tuple[Any, str]]) -> inspect.Signature:
    of_hyperparameters = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=parameter.estimator_default, annotation=_TYPES[name]
        )
        for name, parameter in _PARAMETERS.items()
    ]
    of_others = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, (default, _) in others.items()
    ]
    self = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return inspect.Signature([self, *of_hyperparameters, *of_others])


def declared(kind: _Kind) -> _Kind:
    """Add a constructor to an estimator, and the documentation of its parameters to its docstring.

    Parameters
    ----------
    kind : type
        The class of the estimator.

    Returns
    -------
    kind : type
        The same class.
    """
    others = _OTHERS | getattr(kind, "own_parameters", {})
    signature = _signature(others)

    def __init__(self: Any, **given: Any) -> None:  # noqa: N807
        try:
            named = signature.bind(self, **given)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}() {error}") from None
        named.apply_defaults()
        for name in (*_PARAMETERS, *others):
            setattr(self, name, named.arguments[name])

    __init__.__signature__ = signature  # type: ignore[attr-defined]  # what get_params, clone and help go by
    kind.__init__ = __init__  # type: ignore[misc]
    entries = []
    for name, parameter in _PARAMETERS.items():
        default = parameter.estimator_default
        words = "Not set by default." if default is None else f"Default: {to_text(default)}."
        entries.append(f"{name} : {parameter.expected()}\n    {parameter.doc} {words}")
    entries += [f"{name} : {words}" for name, (_, words) in others.items()]
    if kind.__doc__:  # python -OO has none
        kind.__doc__ = inspect.cleandoc(kind.__doc__).replace("{hyperparameters}", "\n".join(entries))
    return kind


class FactorizationMachine(Asked, BaseEstimator):  # type: ignore[misc]
    """What both share. A subclass says how labels become numbers."""

    _predictor_type: ClassVar[str]

    # --- learning ---

    def fit(
        self: _Self,
        X: Any,
        y: "ArrayLike",
        sample_weight: "ArrayLike | None" = None,
        *,
        validation: tuple[Any, Any] | None = None,
        callback: Callback | None = None,
    ) -> _Self:
        """Train a new model on all rows.

        Parameters
        ----------
        X : array_like, DataFrame or sparse matrix, shape (n_rows, n_features)
            Numbers; sparse input is fastest. A DataFrame of pandas or Polars may have columns of texts, categories,
            dates and lists, with missing values: their encoding is chosen from the data, as in `fm train`, and kept as
            `schema_`.
        y : array_like, shape (n_rows,)
            Two classes of any kind for a classifier, numbers for a regressor.
        sample_weight : array_like, shape (n_rows,), optional
            The weight of each row: finite numbers from 0 up, not all 0. None: 1 for each.
        validation : tuple of (X, y), optional
            Scored after every epoch; `early_stopping_patience` needs it.
        callback : fm_core.training.callbacks.Callback, optional
            Called after every epoch.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            A value is missing, infinite or too large, or shapes or classes do not fit; scikit-learn's checks.
        DataError
            Rows cannot be learned from.
        DivergenceError
            Parameters are no longer finite: lower the learning rates, or scale the columns.
        """
        start = self.__dict__.get("model_") if self.warm_start else None
        is_mixed_frame = is_mixed(X)
        if not (is_mixed_frame and start is not None):
            self.__dict__.pop("_frame", None)
        if is_mixed_frame:
            targets = self._targets(X, y)
            if start is None:
                self._frame = MixedFrame.of(X)
                self.feature_names_in_, self.n_features_in_ = self._frame.names, len(self._frame.names)
            whole = self._frame.batch(X)
        else:
            refuse_moments(X, y)
            rows, targets = self._validated(X, y)
            whole = _batch(rows)
        self.__dict__.pop("_kept", None)  # a new model is learned, by the parameters that are here
        labels = self._learn_labels(targets)
        held_out = None
        if validation is not None:
            if not isinstance(validation, tuple | list) or len(validation) != 2:
                raise ValueError(f"validation is {quoted(validation)}, expected a tuple of X and y")
            if "_frame" not in self.__dict__:
                refuse_moments(*validation)
            check_consistent_length(*validation)
            known = self._labels(self._checked_labels(validation[1], "validation y"))
            held_out = self._whole_batch(validation[0]).with_labels(known)
        whole = _weighted(whole.with_labels(labels), sample_weight)
        learned_from, held_out = self._by_class(whole, held_out)
        history = History()
        told = [history, *([Spoken()] if self.verbose else []), *([] if callback is None else [callback])]
        result = fit_rows(
            learned_from,
            self._hyperparameters(whole.feature_dim),
            open_names=[name for name, p in _PARAMETERS.items() if getattr(self, name) == p.estimator_default],
            validation=held_out,
            num_threads=self._n_threads(),
            callback=Together(*told),
            model=start,
        )
        self.model_ = result.model
        self.history_ = history.epochs
        self.__dict__.pop("_solver", None)
        self.note_importances(whole)
        if is_frame(X):
            self.warn_of_leaks(whole)
        return self

    def _targets(self, X: Any, y: "ArrayLike") -> "NDArray[Any]":
        """Look at the labels of a DataFrame's rows."""
        check_consistent_length(X, y)
        return self._checked_labels(y, "y")

    def _checked_labels(self, y: "ArrayLike", what: str) -> "NDArray[Any]":
        refuse_masked(what, y)
        refuse_gaps(what, y)
        kind = "numeric" if self._y_is_numeric else None
        try:
            found: NDArray[Any] = check_array(column_or_1d(y), ensure_2d=False, dtype=kind, input_name=what)
        except OverflowError as error:
            raise ValueError(f"{what} has a number that is too large for a float") from error
        return found

    def _validated(self, X: Any, y: Any = "no_validation", *, reset: bool = True) -> Any:
        """Let scikit-learn look at rows, and at their labels, where there are some."""
        for what, values in (("the rows", X), ("the labels", y)):
            refuse_masked(what, values)
        refuse_gaps("y", y)
        how = {} if isinstance(y, str) and y == "no_validation" else {"y_numeric": self._y_is_numeric}
        try:
            return validate_data(self, X, y, accept_sparse="csr", dtype=np.float32, reset=reset, **how)
        except (OverflowError, TypeError) as error:
            if isinstance(error, OverflowError) or "NAType" in str(error):
                raise ValueError(f"X or y has a value that is missing, or too large for a float ({error})") from error
            raise

    @property
    def schema_(self) -> TableSchema:
        """The encoding of the columns of `fit`'s DataFrame; only if it had columns other than numbers.

        Raises
        ------
        AttributeError
            `fit` got no DataFrame, or one of numbers only.
        """
        if "_frame" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} has no schema_: it was not fitted to a DataFrame with texts")
        schema: TableSchema = self._frame.schema
        return schema

    def learn_once(
        self: _Self, X: Any, y: "ArrayLike", classes: "ArrayLike | None", sample_weight: "ArrayLike | None" = None
    ) -> _Self:
        """Make one pass over rows, as `partial_fit` does.

        Parameters
        ----------
        X : array_like, DataFrame or sparse matrix, shape (n, n_features)
        y : array_like, shape (n,)
        classes : array_like or None
            The two classes of a classifier, for the first call.
        sample_weight : array_like of float, shape (n,), optional

        Returns
        -------
        self : estimator
        """
        is_first = not hasattr(self, "model_")
        if is_first:
            self.__dict__.pop("_frame", None)  # of a fit that was refused
        if is_first and is_mixed(X):
            self._frame = MixedFrame.of(X)
            self.feature_names_in_, self.n_features_in_ = self._frame.names, len(self._frame.names)
        if "_frame" in self.__dict__:
            whole, targets = self._frame.batch(X), self._targets(X, y)
        else:
            refuse_moments(X, y)
            rows, targets = self._validated(X, y, reset=is_first)
            whole = _batch(rows)
        if is_first:
            labels = self._learn_labels(targets if classes is None else named_classes(classes), targets)
        else:
            if classes is not None:
                self._labels(two_classes(named_classes(classes)))  # not others than those that were learned
            labels = self._labels(targets)
        solver: MiniBatchSolver | None = getattr(self, "_solver", None)
        hyperparameters = self._hyperparameters(whole.feature_dim)
        if solver is None or not solver.learn_with(hyperparameters, self._n_threads()):
            solver = MiniBatchSolver(hyperparameters, self._n_threads(), None if is_first else self.model_)
        whole, _ = self._by_class(_weighted(whole.with_labels(labels), sample_weight), None, in_parts=True)
        totals = metrics_for(self._predictor_type)
        for batch in whole.split(self.mini_batch_size):
            totals.update(solver.step(batch), batch.known_labels, batch.weights)
        # The next step's scores would show it, and there may be none.
        occurring = np.arange(whole.feature_dim, dtype=np.int32) if whole.indices is None else np.unique(whole.indices)
        solver.check(occurring)
        self._solver = solver
        self.model_ = solver.model
        self.note_importances(None)
        self.history_ = [*getattr(self, "history_", []), {"train": totals.values()}]
        return self

    def _hyperparameters(self, feature_dim: int) -> Hyperparameters:
        kept = self.__dict__.get("_kept", {})
        given = kept | {name: getattr(self, name) for name in _PARAMETERS}
        if self.random_state is not None:
            is_number = isinstance(self.random_state, numbers.Integral)
            given["seed"] = self.random_state if is_number else int(self.random_state.randint(2**31))
        if "_frame" in self.__dict__ and given["solver"] != "minibatch" and given["feature_groups"] == "auto":
            given["feature_groups"] = self._frame.groups
        return Hyperparameters(feature_dim=feature_dim, predictor_type=self._predictor_type, **given)

    def _check_fitted(self) -> None:
        check_is_fitted(self, "model_")

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

    def _by_class(self, rows: Batch, validation: Batch | None, *, in_parts: bool = False) -> tuple[Batch, Batch | None]:
        """Let rows, and those of validation data, count as much as their class does."""
        return rows, validation

    # --- scores ---

    def _whole_batch(self, X: Any) -> Batch:
        check_is_fitted(self, "n_features_in_")
        if "_frame" in self.__dict__:
            return self._frame.batch(X)
        refuse_moments(X)
        return _batch(self._validated(X, reset=False))

    def score_rows(self, X: Any, model: Model | None = None) -> "NDArray[np.float32]":
        """Return the score of each row.

        Parameters
        ----------
        X : array_like, DataFrame or sparse matrix, shape (n, n_features)
        model : Model, optional
            A model to use instead of the fitted one.

        Returns
        -------
        scores : ndarray of float32, shape (n,)
            Probabilities of a classifier's second class, or a regressor's numbers.
        """
        check_is_fitted(self, "model_")
        batch = self._whole_batch(X)
        scores: NDArray[np.float32] = (model or self.model_).predict(batch, self._n_threads())
        check_scores(scores)
        return scores

    def std_of_rows(self, X: Any) -> "NDArray[np.float32]":
        """Return the standard deviation of each row's score.

        Parameters
        ----------
        X : array_like, DataFrame or sparse matrix, shape (n, n_features)

        Returns
        -------
        std : ndarray of float32, shape (n,)
        """
        check_is_fitted(self, "model_")
        found: NDArray[np.float32] = self.model_.std(self._whole_batch(X), self._n_threads())
        return found

    # --- files ---

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model as a training job does: `serve` and all readers of the built-in's models accept it.

        Parameters
        ----------
        path : path
            The file to write, or a folder that gets a ``model_algo-1``. The schema of a DataFrame's columns is written
            next to it as ``schema.json``, and the data for standard deviations as ``spread.npz``.
        """
        check_is_fitted(self, "model_")
        path = Path(path)
        hyperparameters = self._hyperparameters(self.model_.feature_dim)
        file = path / MODEL_FILE if path.is_dir() else path
        save_model(file, self.model_, to_texts(hyperparameters))
        save_spread(file.parent, self.model_)
        if "_frame" in self.__dict__:
            self.schema_.save(file.with_name(SCHEMA_FILE))

    @classmethod
    def read_model(cls: type[_Self], path: str | os.PathLike[str]) -> _Self:
        """Create an estimator from a model file.

        Parameters
        ----------
        path : path
            A model file, its folder, or a ``model.tar.gz``.

        Returns
        -------
        estimator : FMClassifier or FMRegressor

        Raises
        ------
        ArtifactError
            The file is damaged, or holds the other kind of model.
        """
        model = load_model(path)
        if model.predictor_type != cls._predictor_type:
            raise ArtifactError(
                f"{path} holds a {model.predictor_type}, expected a {cls._predictor_type} for {cls.__name__}"
            )
        stored = from_texts(read_meta(path)["training_parameters"])
        # What the file does not say was a job's default, which an estimator's is not in every case; or, where it says
        # others, was left to the solver.
        unset = {name: None if stored and p.default_with else p.default for name, p in _PARAMETERS.items()}
        estimator = cls(**{name: stored.get(name, default) for name, default in unset.items()})
        estimator.set_params(num_factors=model.num_factors)
        # What the constructor does not know, such as the optimizer, stays what it was: for `save` and `partial_fit`.
        estimator._kept = {
            name: value
            for name, value in stored.items()
            if name not in estimator.get_params() and name not in ("feature_dim", "predictor_type")
        }
        estimator.n_features_in_ = model.feature_dim
        beside = Path(path) if Path(path).is_dir() else Path(path).parent
        if (beside / SCHEMA_FILE).is_file():
            schema = TableSchema.load(beside / SCHEMA_FILE)
            if schema.needs_version_2 and schema.feature_dim == model.feature_dim:
                names = np.array([column.name for column in schema.columns], object)
                estimator._frame = MixedFrame(schema, names)
                estimator.feature_names_in_, estimator.n_features_in_ = names, len(names)
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


def _batch(rows: Any) -> Batch:
    return Batch.from_dense(rows) if isinstance(rows, np.ndarray) else Batch.from_csr(rows)


def _weighted(rows: Batch, sample_weight: "ArrayLike | None") -> Batch:
    """Give rows their weights, without those that weigh nothing."""
    if sample_weight is None:
        return rows
    refuse_masked("the weights", sample_weight)
    if isinstance(sample_weight, numbers.Number):
        sample_weight = np.full(rows.n_rows, sample_weight)
    found = check_array(sample_weight, ensure_2d=False, dtype=np.float32, order="C", input_name="sample_weight")
    if found.ndim != 1:
        raise ValueError(f"sample_weight has {found.ndim} dimensions, expected one: sample weights must be 1D")
    if len(found) != rows.n_rows:
        raise ValueError(f"sample_weight has {len(found)} numbers for {rows.n_rows} rows, expected one each")
    if (found < 0).any():
        raise ValueError(f"sample_weight has {found.min():g}, expected finite numbers of at least 0")
    if not found.any():
        raise ValueError("sample_weight is 0 in every row: Sample weights must contain at least one non-zero number.")
    return rows.with_weights(found).without_weightless()
