"""Methods of a fitted estimator other than prediction: recommend, rank, explain, importance of columns.

Rows are whatever `fit` had; of a DataFrame that means its columns, by the schema that the estimator fitted.
"""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from fm_core.analysis.catalogue import Catalogue
from fm_core.analysis.explanation import explain
from fm_core.analysis.importance import column_importances, few_rows
from fm_core.analysis.leaks import columns_that_tell, even_and_odd
from fm_core.analysis.ranking import Ranked, rank
from fm_core.analysis.recommendation import Recommendation, Recommender
from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.frames import frame_records, frame_table, is_frame
from fm_core.formats.tables.mixed_frames import MixedFrame
from fm_core.model import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Asked"]

#: Explanations are many times their rows.
_ROWS_AT_ONCE = 100
#: Columns beyond: what each matters is kept by nobody who has not asked.
_MOST_COLUMNS = 100_000
#: What is recommended for each row of a DataFrame where nothing is said.
_TOP_K = 10


class Asked:
    """Methods of a fitted estimator: what both kinds share."""

    model_: Model
    n_features_in_: int
    _frame: MixedFrame
    _importances: "NDArray[np.float64] | None"

    def _whole_batch(self, X: Any) -> Batch:
        raise NotImplementedError

    def _n_threads(self) -> int:
        raise NotImplementedError

    def _check_fitted(self) -> None:
        raise NotImplementedError

    # --- what columns matter ---

    @property
    def feature_importances_(self) -> "NDArray[np.float64]":
        """The importance of each column, shape (n_features_in_,): see `get_feature_importance`."""
        self._check_fitted()
        found = self.__dict__.get("_importances")
        if found is None:
            raise AttributeError(
                f"{type(self).__name__} has no feature_importances_: `fit` computes them for up to "
                f"{_MOST_COLUMNS:,} columns; call get_feature_importance with rows"
            )
        return np.array(found)

    def get_feature_importance(self, X: Any = None) -> dict[Any, float]:
        """Compute the importance of each column: how much a score changes if its cell is taken from another row.

        The mean absolute change, over some thousand rows and a few other rows for each, in the unit of a regressor's
        label, or in a classifier's log-odds. It includes the column's interactions with others.

        Parameters
        ----------
        X : array_like, DataFrame or sparse matrix, shape (n_rows, n_features), optional
            None: rows of `fit`.

        Returns
        -------
        importances : dict of float
            By the column's name, or its number if there are no names; the most important first.

        Raises
        ------
        AttributeError
            There are no rows of `fit`: the model was loaded from a file, or `partial_fit` was called since.
        """
        found = self.feature_importances_ if X is None else self._importances_of(self._whole_batch(X))
        names = self.__dict__.get("feature_names_in_")
        keys = list(range(self.n_features_in_)) if names is None else names.tolist()
        return {keys[i]: float(found[i]) for i in np.argsort(-found, kind="stable").tolist()}

    def note_importances(self, rows: Batch | None) -> None:
        """Compute and keep the importances of columns after `fit`.

        Parameters
        ----------
        rows : Batch or None
            The training rows; None if they are not available, such as after `load`.
        """
        if rows is None or self.n_features_in_ > _MOST_COLUMNS:
            self._importances = None
        else:
            self._importances = self._importances_of(rows)

    def warn_of_leaks(self, rows: Batch) -> None:
        """Warn of columns of a DataFrame that alone determine the label.

        Parameters
        ----------
        rows : Batch
            The training rows.
        """
        names = self.__dict__.get("feature_names_in_")
        if names is None:
            return
        learned, tried = even_and_odd(few_rows(rows))
        firsts = np.arange(self.n_features_in_)
        if "_frame" in self.__dict__:
            schema = self._frame.schema
            names, firsts = [column.name for column in schema.columns], np.array(schema.offsets)
        for i in columns_that_tell(learned, tried, firsts, is_classifier=self.model_.is_classifier):
            warnings.warn(
                f"column {names[i]!r} alone determines the label: leave it out if it is not known before the label",
                UserWarning,
                stacklevel=3,
            )

    def _importances_of(self, rows: Batch) -> "NDArray[np.float64]":
        self._check_fitted()
        if "_frame" not in self.__dict__:
            return column_importances(self.model_, few_rows(rows), np.arange(self.n_features_in_))
        schema, places = self._frame.schema, {name: place for place, name in enumerate(self._frame.names.tolist())}
        found = np.zeros(self.n_features_in_)  # of columns that became no features too
        of_columns = column_importances(self.model_, few_rows(rows), np.array(schema.offsets))
        found[[places[column.name] for column in schema.columns]] = of_columns
        return found

    # --- the shares of a score ---

    def explain(self, X: Any, top: int = 10) -> list[dict[str, Any]]:
        """Return the features, and pairs of features, that made the score of each row.

        Parameters
        ----------
        X : array_like, DataFrame or sparse matrix, shape (n_rows, n_features)
        top : int
            The most features, and the most pairs, to list for each row.

        Returns
        -------
        explanations : list of dict
            As an endpoint gives them: ``total`` (a regressor's score, the logarithm of a classifier's odds), ``bias``,
            ``features`` and ``pairs``, each with its ``share`` and, of a DataFrame, its ``name`` or ``names``; the
            largest first; ``rest``, the sum of those that are not listed. Bias, shares and rest add up to the total.

        Raises
        ------
        DataError
            A row has too many features.
        """
        self._check_fitted()
        batch, names, found = self._whole_batch(X), self.__dict__.get("feature_names_in_"), []
        name = self._frame.schema.feature_name if "_frame" in self.__dict__ else None if names is None else names.item
        for start in range(0, batch.n_rows, _ROWS_AT_ONCE):
            rows = range(start, min(start + _ROWS_AT_ONCE, batch.n_rows))
            found += [each.as_document(max(top, 0), name) for each in explain(self.model_, batch, rows)]
        return found

    # --- the best of some ---

    def rank(self, X: Any, candidates: Any, top_k: int | None = None) -> list[Ranked]:
        """Rank candidates for each row: the score of each pair of a row and a candidate, exactly.

        Parameters
        ----------
        X : DataFrame or sparse matrix
            A row for each context, such as a user: some of the columns of `fit`, or features of its own.
        candidates : DataFrame or sparse matrix
            A row for each candidate, such as an item: the other columns; or rows as wide as `X`, added to each of it.
        top_k : int, optional
            The number of candidates to return; by default all.

        Returns
        -------
        rankings : list of Ranked
            For each row of `X`: ``indices`` of candidates, the best first, and their ``scores``.

        Raises
        ------
        DataError
            A column is in both tables, or in neither.
        """
        self._check_fitted()
        contexts, others = self._sides(X, candidates)
        return [rank(self.model_, contexts.take(np.array([row])), others, top_k) for row in range(contexts.n_rows)]

    def _sides(self, X: Any, candidates: Any) -> tuple[Batch, Batch]:
        if "_frame" not in self.__dict__:
            return _sparse(self._whole_batch(X)), _sparse(self._whole_batch(candidates))
        schema = self._frame.schema
        tables = [frame_table(X, "X"), frame_table(candidates, "candidates")]
        for column in schema.columns:
            n = sum(column.name in table.places for table in tables)
            if n != 1:
                raise DataError(
                    f"column {column.name!r} is in {'both of' if n else 'neither of'} X and candidates, expected it in "
                    "one of them"
                )
        encoder = Encoder(schema, labels="none")
        both = [encoder.encode(table, sparse=True, partial=True) for table in tables]
        return both[0], both[1]

    # --- recommendations ---

    def recommender(self, items: Any) -> Recommender:
        """Prepare items for recommendations. Keep the result for further calls: a million items take a second.

        Parameters
        ----------
        items : DataFrame, pyarrow.Table, or dict of columns
            A row for each item. The first column is the ids; the columns that `fit` had are the item's features, and
            requests can filter by all columns. If the model was fitted to numbers, a column ``features`` holds feature
            ids, such as
            ``"7"`` or ``"7:1 19:0.5"``.

        Returns
        -------
        recommender : fm_core.Recommender

        Raises
        ------
        DataError
            There are no items, or an item does not fit the model's columns.
        """
        self._check_fitted()
        encoder = Encoder(self._frame.schema, labels="none") if "_frame" in self.__dict__ else None
        table = frame_table(items, "the table of items")
        catalogue = Catalogue.read([table], encoder, self.model_.feature_dim, what="the table of items")
        return Recommender(self.model_, catalogue, encoder, self._n_threads())

    def recommend(self, requests: Any, items: Any, top_k: int | None = None) -> list[Recommendation]:
        """Find the best items for each request.

        Parameters
        ----------
        requests : list of dict, or DataFrame
            Each as an endpoint gets it: ``{"columns": {"user": "ann"}, "top_k": 10, "filter": {"genre": "comedy"}}``.
            Of a DataFrame, the columns of each row.
        items : Recommender, or as `recommender` takes it
        top_k : int, optional
            The number of items for each row of a DataFrame; by default 10. In a list, each request has its own.

        Returns
        -------
        recommendations : list of Recommendation

        Raises
        ------
        DataError
            A request is invalid; the message says which one, and where.
        """
        recommender = items if isinstance(items, Recommender) else self.recommender(items)
        if is_frame(requests):
            wanted = _TOP_K if top_k is None else top_k
            requests = [{"columns": columns, "top_k": wanted} for columns in frame_records(requests)]
        elif top_k is not None:
            raise DataError(f"top_k is {top_k}, but requests is not a DataFrame: set top_k in each request")
        return recommender.recommend(requests, self._n_threads())


def _sparse(batch: Batch) -> Batch:
    if not batch.is_dense:
        return batch
    from scipy.sparse import csr_array

    return Batch.from_csr(csr_array(batch.values))
