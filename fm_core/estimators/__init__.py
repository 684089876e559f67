"""FMClassifier and FMRegressor: factorization machines with scikit-learn's conventions.

They work in pipelines and searches like any estimator, and save and load
the artifact that SageMaker jobs write. scikit-learn is needed by this module alone, and
`fm_core` imports it on request only.

Constructor parameters are hyperparameters by SageMaker's names, made from their declarations
(fm_core/hyperparameters.py). Those that the data decides (``feature_dim``, ``predictor_type``), and those that mean
nothing in a notebook, are left out there.
"""

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, overload

import numpy as np

from fm_core.batch import Batch

# First what says how to install scikit-learn where it is missing.
from fm_core.estimators.base import FactorizationMachine, declared
from fm_core.estimators.classes import named_classes, two_classes
from fm_core.model import Model
from fm_core.printable import quoted
from fm_core.training.class_weights import balanced_weights, weighted_by_class

# isort: split
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["FMClassifier", "FMRegressor"]

_CLASS_WEIGHT = """dict, 'balanced' or None
    Weights of rows by class, multiplied by `sample_weight`: a dict by label (1 for labels that it lacks), or balanced:
    equal total weight of both classes. For training and validation data. Not set by default."""


@declared
class FMRegressor(RegressorMixin, FactorizationMachine):  # type: ignore[misc]
    """A factorization machine that predicts a number.

    Parameters
    ----------
    {hyperparameters}

    Attributes
    ----------
    model_ : fm_core.Model
        w0, w and V.
    history_ : list of dict
        For each epoch of the last `fit`, and each `partial_fit` since: ``{"train": {...}, "validation": {...}}``, the
        metrics by name.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        The columns, if `fit` had a DataFrame with names.

    Examples
    --------
    >>> from fm_core import FMRegressor
    >>> X, y = [[1, 0, 1], [1, 1, 0], [0, 1, 1], [0, 0, 1]], [3, 1, 2, 1]
    >>> FMRegressor(num_factors=2).fit(X, y).predict([[1, 0, 1]]).shape
    (1,)
    """

    _predictor_type = "regressor"
    _y_is_numeric = True

    def partial_fit(self, X: Any, y: "ArrayLike", sample_weight: "ArrayLike | None" = None) -> "FMRegressor":
        """Make one more pass over rows, in their order, starting from the current model.

        A first call starts a model; after `fit`, `load` or unpickling the optimizer's moments
        start from zero.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        self : FMRegressor
        """
        return self.learn_once(X, y, None, sample_weight)

    @overload
    def predict(self, X: Any, return_std: Literal[False] = False) -> "NDArray[np.float32]": ...

    @overload
    def predict(self, X: Any, return_std: Literal[True]) -> "tuple[NDArray[np.float32], NDArray[np.float32]]": ...

    def predict(
        self, X: Any, return_std: bool = False
    ) -> "NDArray[np.float32] | tuple[NDArray[np.float32], NDArray[np.float32]]":
        """Predict a number for each row.

        Parameters
        ----------
        X : array_like, DataFrame or sparse matrix, shape (n_rows, n_features)
        return_std : bool
            Whether to also return the standard deviation of the row's label. It needs solver bayes, which auto chooses
            for sparse rows.

        Returns
        -------
        scores : ndarray of float32, shape (n_rows,)
        std : ndarray of float32, shape (n_rows,)
            Only with `return_std`.

        Raises
        ------
        DataError
            `return_std` is set, but the solver does not provide it.
        """
        return (self.score_rows(X), self.std_of_rows(X)) if return_std else self.score_rows(X)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "FMRegressor":
        """Read a model file, its folder or a ``model.tar.gz``, of a job or of `save`.

        Parameters
        ----------
        path : path

        Returns
        -------
        estimator : FMRegressor

        Raises
        ------
        ArtifactError
            It is not a model, it is damaged, or it is a classifier's.
        """
        return cls.read_model(path)

    def _learn_labels(self, known: "NDArray[Any]", targets: "NDArray[Any] | None" = None) -> "NDArray[np.float32]":
        return self._labels(known if targets is None else targets)

    def _labels(self, targets: "NDArray[Any]") -> "NDArray[np.float32]":
        with np.errstate(over="ignore"):  # an infinity is refused by the solver
            return np.ascontiguousarray(targets, np.float32)


@declared
class FMClassifier(ClassifierMixin, FactorizationMachine):  # type: ignore[misc]
    """A factorization machine that predicts one of two classes.

    Parameters
    ----------
    {hyperparameters}

    Attributes
    ----------
    classes_ : ndarray, shape (2,)
        The labels in order; scores are probabilities of the second one.
    model_, history_, n_features_in_, feature_names_in_
        As for `FMRegressor`.

    Examples
    --------
    >>> from fm_core import FMClassifier
    >>> X, y = [[1, 0, 1], [1, 1, 0], [0, 1, 1], [0, 0, 1]], ["yes", "no", "yes", "no"]
    >>> classifier = FMClassifier(num_factors=2, seed=1).fit(X, y)
    >>> classifier.classes_.tolist(), classifier.predict_proba(X).shape
    (['no', 'yes'], (4, 2))
    """

    own_parameters: ClassVar[dict[str, tuple[Any, str]]] = {"class_weight": (None, _CLASS_WEIGHT)}
    _predictor_type = "binary_classifier"
    _y_is_numeric = False

    def partial_fit(
        self,
        X: Any,
        y: "ArrayLike",
        classes: "ArrayLike | None" = None,
        sample_weight: "ArrayLike | None" = None,
    ) -> "FMClassifier":
        """Make one more pass over rows, in their order, starting from the current model.

        A first call starts a model; after `fit`, `load` or unpickling the optimizer's moments
        start from zero.

        Parameters
        ----------
        X, y
            As for `fit`.
        classes : array_like, shape (2,), optional
            Both labels, if the `y` of the first call has only one of them.
        sample_weight
            As for `fit`.

        Returns
        -------
        self : FMClassifier
        """
        return self.learn_once(X, y, classes, sample_weight)

    def predict(self, X: Any) -> "NDArray[Any]":
        """Predict the class of each row: the second one if its probability is at least one half.

        Parameters
        ----------
        X : array_like, DataFrame or sparse matrix, shape (n_rows, n_features)

        Returns
        -------
        labels : ndarray, shape (n_rows,)
            Of `classes_`.
        """
        scores = self.score_rows(X)
        return self.classes_[(scores >= 0.5).astype(np.intp)]

    @overload
    def predict_proba(self, X: Any, return_std: Literal[False] = False) -> "NDArray[np.float64]": ...

    @overload
    def predict_proba(self, X: Any, return_std: Literal[True]) -> "tuple[NDArray[np.float64], NDArray[np.float32]]": ...

    def predict_proba(
        self, X: Any, return_std: bool = False
    ) -> "NDArray[np.float64] | tuple[NDArray[np.float64], NDArray[np.float32]]":
        """Predict the probability of each class.

        Parameters
        ----------
        X : array_like, DataFrame or sparse matrix, shape (n_rows, n_features)
        return_std : bool
            Whether to also return the standard deviation of the probability; see `FMRegressor.predict`.

        Returns
        -------
        probabilities : ndarray of float64, shape (n_rows, 2)
            In the order of `classes_`.
        std : ndarray of float32, shape (n_rows,)
            Only with `return_std`; of either class.
        """
        second = self.score_rows(X).astype(np.float64)
        both = np.column_stack([1 - second, second])
        return (both, self.std_of_rows(X)) if return_std else both

    def decision_function(self, X: Any) -> "NDArray[np.float32]":
        """Return the log-odds of each row: its score before the logistic function.

        Parameters
        ----------
        X : matrix or DataFrame, shape (n_rows, n_features)

        Returns
        -------
        scores : ndarray of float32, shape (n_rows,)
        """
        check_is_fitted(self, "model_")
        of_numbers = Model("regressor", self.model_.w0, self.model_.w, self.model_.V)
        return self.score_rows(X, of_numbers)

    @classmethod
    def load(cls, path: str | os.PathLike[str], classes: Sequence[Any] = (0, 1)) -> "FMClassifier":
        """Read a model file, its folder or a ``model.tar.gz``, of a job or of `save`.

        Parameters
        ----------
        path : path
        classes : sequence of two labels
            The labels that 0 and 1 stand for; the file does not contain them.

        Returns
        -------
        estimator : FMClassifier

        Raises
        ------
        ArtifactError
            It is not a model, it is damaged, or it is a regressor's.
        """
        estimator = cls.read_model(path)
        estimator.classes_ = two_classes(named_classes(classes))
        return estimator

    def _learn_labels(self, known: "NDArray[Any]", targets: "NDArray[Any] | None" = None) -> "NDArray[np.float32]":
        check_classification_targets(known)
        kind = type_of_target(known, input_name="y")
        if kind != "binary":
            raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
        self.classes_ = two_classes(np.unique(known))
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

    def _by_class(self, rows: Batch, validation: Batch | None, *, in_parts: bool = False) -> tuple[Batch, Batch | None]:
        if self.class_weight is None:
            return rows, validation
        of_0, of_1 = self._class_weights(rows, in_parts)
        weighted = weighted_by_class(rows, of_0, of_1).without_weightless()
        if not weighted.n_rows and not in_parts:
            raise ValueError(
                f"class_weight is {quoted(self.class_weight)}: it gives every row the weight 0, expected some above 0"
            )
        return weighted, None if validation is None else weighted_by_class(validation, of_0, of_1)

    def _class_weights(self, rows: Batch, in_parts: bool) -> tuple[float, float]:
        given = self.class_weight
        if isinstance(given, str) and given == "balanced":
            if in_parts:
                raise ValueError("class_weight is 'balanced', which needs all rows at once: give partial_fit a dict")
            return balanced_weights(rows)
        if not isinstance(given, Mapping):
            raise ValueError(f"class_weight is {quoted(given)}, expected a dict, 'balanced' or None")
        known = self.classes_.tolist()
        for label, weight in given.items():
            if label not in known:
                raise ValueError(f"class_weight has the class {label!r}, expected some of {known}")
            if not (isinstance(weight, int | float | np.number) and 0 <= weight < math.inf):
                raise ValueError(
                    f"class_weight of {label!r} is {quoted(weight)}, expected a finite number of at least 0"
                )
        return float(given.get(known[0], 1)), float(given.get(known[1], 1))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags
