"""The best items of a catalogue for a client's request: contexts, filters, new users, and explanations.

queries.py describes the requests. With a `history`, rows of items and labels, the context gets a feature that the model
does not have: the user of these labels. Its parameters are fitted during the request (fold_in.py).
"""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from fm_core.analysis.catalogue import CATALOGUE_FILE, Catalogue
from fm_core.analysis.explanation import MOST_PAIRS, explain
from fm_core.analysis.fold_in import Folded
from fm_core.analysis.history import History, is_id, side_by_side
from fm_core.analysis.packed_items import Choice, PackedItems
from fm_core.analysis.queries import Query
from fm_core.analysis.ranking import Context, contexts_of, ranked_rows
from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.requests.instances import decode_instances
from fm_core.formats.requests.named_columns import decode_named
from fm_core.formats.tables import SCHEMA_FILE, TableSchema
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.values import text_of
from fm_core.given import check_kind, check_threads
from fm_core.model import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Recommendation", "Recommender"]

#: Filters whose items are remembered: a million items take a megabyte each.
_FILTERS = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Recommendation:
    """The best items for one request.

    Attributes
    ----------
    items : ndarray of int64, shape (n,)
        Positions in the catalogue, best first; of equal ones the first comes first.
    scores : ndarray of float32, shape (n,)
        As `Model.predict` gives them for context and item together.
    columns : list of dict
        Each item's columns.
    explanations : list of dict, or None
        The explanation of each score, if requested.
    std : ndarray of float32, shape (n,), or None
        The standard deviation of each score, if requested.
    """

    items: "NDArray[np.int64]"
    scores: "NDArray[np.float32]"
    columns: list[dict[str, Any]]
    explanations: list[dict[str, Any]] | None = None
    std: "NDArray[np.float32] | None" = None


class Recommender:
    """A model and the items that it can recommend.

    Parameters
    ----------
    model : Model
    catalogue : Catalogue
    encoder : Encoder or None
        The encoder of the model's schema; None: the model has no schema, and contexts have feature ids.
    num_threads : int
        Threads that prepare the items.

    Examples
    --------
    >>> import numpy as np, os, pathlib, tempfile
    >>> from fm_core import Catalogue, Model, Recommender
    >>> factors = np.float32([[1], [-1], [1], [-1], [0.5]])  # of two users, then of three films
    >>> model = Model("regressor", 3.0, np.zeros(5, np.float32), factors)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "catalogue.csv")
    ...     _ = path.write_text(os.linesep.join(["film,features", "Alien,2", "Brazil,3", "Cube,4"]))
    ...     catalogue = Catalogue.load(path, None, model.feature_dim)
    >>> user = {"keys": [0], "values": [1]}
    >>> (best,) = Recommender(model, catalogue).recommend([{"context": user, "top_k": 2, "exclude": ["Cube"]}])
    >>> [item["film"] for item in best.columns], best.scores.tolist()
    (['Alien', 'Brazil'], [4.0, 2.0])
    """

    def __init__(
        self, model: Model, catalogue: Catalogue, encoder: Encoder | None = None, num_threads: int = 1
    ) -> None:
        check_kind("model", model, Model, "a Model")
        check_kind("catalogue", catalogue, Catalogue, "a Catalogue")
        check_kind("encoder", encoder, (Encoder, type(None)), "an Encoder or None")
        check_threads(num_threads)
        self.model = model
        self.catalogue = catalogue
        self._encoder = encoder
        self._packed = PackedItems(model, catalogue.rows, num_threads)
        self._choice = functools.lru_cache(_FILTERS)(self._make_choice)
        self._history = None if encoder is None else History(model, encoder, catalogue)
        ids = {} if self._history is None else self._history.columns
        self._of_users = {name: features for name, features in ids.items() if name not in catalogue.columns}

    @classmethod
    def beside(cls, model: Model, folder: "str | os.PathLike[str]", *, unseen: str = "error") -> "Recommender":
        """Make a recommender from the schema.json and catalogue.csv in a folder, usually the model's.

        Parameters
        ----------
        model : Model
        folder : path
            The schema may be absent; then the catalogue needs a column `features` (see catalogue.py).
        unseen : {"error", "ignore"}
            How to treat a category that is not in the schema.

        Returns
        -------
        recommender : Recommender

        Raises
        ------
        ConfigError
            The schema is invalid, or belongs to another model.
        DataError
            The catalogue is invalid, or belongs to another schema.
        """
        check_kind("model", model, Model, "a Model")
        path = Path(folder) / SCHEMA_FILE
        encoder = None
        if path.exists():
            schema = TableSchema.load(path, model.feature_dim)
            encoder = Encoder(schema, unseen=unseen, labels="none", way_out="unseen='ignore'")
        return cls(model, Catalogue.load(Path(folder) / CATALOGUE_FILE, encoder, model.feature_dim), encoder)

    def recommend(
        self, requests: Sequence[Any], num_threads: int = 1, what: str = "request", first: int = 0
    ) -> list[Recommendation]:
        """Find the best items for each request.

        Parameters
        ----------
        requests : sequence of dict
        num_threads : int
            The result does not depend on it.
        what : str
            The name of a request in messages.
        first : int
            The number of the first request in messages.

        Returns
        -------
        recommendations : list of Recommendation
            Each has fewer than `top_k` items if no more are left.

        Raises
        ------
        DataError
            A request is invalid; the message says which one, and where.
        """
        check_kind("requests", requests, (list, tuple), "a list of requests")
        check_threads(num_threads)
        queries = [Query.of(each, f"{what} {number}") for number, each in enumerate(requests, first)]
        folds = [None if query.history is None else self._fold_in(query, query.history) for query in queries]
        contexts = [
            context if fold is None else context.joined_by(fold.feature.w, fold.feature.v)
            for context, fold in zip(self._contexts(queries, folds, what, first), folds, strict=True)
        ]
        found: list[Recommendation | None] = [None] * len(queries)
        for top_k in {query.top_k for query in queries}:
            numbers = [i for i, query in enumerate(queries) if query.top_k == top_k]
            ranked = self._packed.best(
                [contexts[i] for i in numbers],
                min(top_k, len(self.catalogue)),
                [self._choice_of(queries[i]) for i in numbers],
                [self._excluded(queries[i], folds[i]) for i in numbers],
                num_threads,
            )
            for i, of_query in zip(numbers, ranked, strict=True):
                items, scores = of_query.indices, of_query.scores
                if not np.isfinite(scores).all():
                    raise DataError(f"{queries[i].where}: a score overflows float32: its values are too large")
                columns = [self.catalogue.document(item) for item in items.tolist()]
                why = self._explanations(queries[i], contexts[i], folds[i], items) if queries[i].explain else None
                std = self._std(queries[i], contexts[i], items, num_threads) if queries[i].spread else None
                found[i] = Recommendation(items, scores, columns, why, std)
        return [each for each in found if each is not None]

    # --- contexts ---

    def _contexts(
        self, queries: Sequence[Query], folds: "Sequence[_Fold | None]", what: str, first: int
    ) -> list[Context]:
        columns = [
            {name: cell for name, cell in (query.columns or {}).items() if fold is None or name != fold.column}
            for query, fold in zip(queries, folds, strict=True)
        ]
        for query, of_query in zip(queries, columns, strict=True):
            for name in of_query:
                if name in self.catalogue.columns:
                    raise DataError(
                        f"{query.where}: column {name[:40]!r} belongs to the catalogue, expected columns of the "
                        "context only"
                    )
        named, keyed = self._no_rows(len(queries)), self._no_rows(len(queries))
        if any(columns):
            encoder = self._needs_schema(next(query for query in queries if query.columns))
            named = decode_named(
                [{"columns": of_query} for of_query in columns], encoder, what=what, first=first, partial=True
            )
        if any(query.context is not None for query in queries):
            instances = [{"keys": [], "values": []} if query.context is None else query.context for query in queries]
            keyed = decode_instances(
                instances, feature_dim=self.model.feature_dim, what=f"the context of {what}", first=first
            )
        found = []
        for query, *both in zip(queries, contexts_of(self.model, named), contexts_of(self.model, keyed), strict=True):
            context = both[query.context is not None]
            shared = context.keys[self.catalogue.has(context.keys)]
            if len(shared):
                raise DataError(
                    f"{query.where}: the context has feature {shared[0]}, which belongs to the catalogue's items, "
                    "expected only other features"
                )
            found.append(context)
        return found

    def _no_rows(self, n: int) -> Batch:
        return Batch.trusted(
            self.model.feature_dim, np.zeros(0, np.float32), np.zeros(n + 1, np.int64), np.zeros(0, np.int32)
        )

    def _needs_schema(self, query: Query) -> Encoder:
        if self._encoder is None:
            raise DataError(
                f"{query.where} has columns, but the model has no schema: put the schema.json that `fm convert` wrote "
                'next to it, or send a "context" of feature ids'
            )
        return self._encoder

    # --- users who came after training ---

    def _fold_in(self, query: Query, history: list[Mapping[str, Any]]) -> "_Fold":
        encoder = self._needs_schema(query)
        column = self._column_of_user(query, encoder)
        assert self._history is not None
        feature, items = self._history.fold(column, history, f"{query.where}, history")
        value = (query.columns or {}).get(column)
        return _Fold(feature, column, f"{column}={text_of(value) if is_id(value) else '(history)'}", items)

    def _column_of_user(self, query: Query, encoder: Encoder) -> str:
        """Find the column that the user of a history is of: that whose value is not given, or was not in training."""
        given = query.columns or {}
        names = list(self._of_users)
        if query.history_of is not None:
            if query.history_of not in names:
                raise DataError(
                    f'{query.where}: "history_of" is {query.history_of[:40]!r}, expected a column of ids that the '
                    f"catalogue does not have: {', '.join(names[:20]) or 'there is none'}"
                )
            open_ones = [query.history_of]
        else:
            open_ones = [name for name in names if not self._is_known(encoder, name, given.get(name))]
        if len(open_ones) == 1 and not self._is_known(encoder, open_ones[0], given.get(open_ones[0])):
            return open_ones[0]
        if len(open_ones) > 1:
            raise DataError(
                f"{query.where}: the history may belong to {' or to '.join(open_ones[:20])}: give all but one of them "
                'in "columns", or set "history_of" to one of them'
            )
        raise DataError(
            f"{query.where}: the history has no column to replace: "
            f"{', '.join(names[:20]) or 'no column of ids'} was in training; leave out the history, or the column that "
            "it replaces"
        )

    @staticmethod
    def _is_known(encoder: Encoder, name: str, value: Any) -> bool:
        if value is None or not is_id(value):
            return value is not None
        kind = next(column.kind for column in encoder.schema.columns if column.name == name)
        return kind == "hashed" or encoder.knows(name, text_of(value))

    # --- items ---

    def _choice_of(self, query: Query) -> Choice | None:
        if not query.filter:
            return None
        try:
            try:
                key = orjson.dumps(query.filter, option=orjson.OPT_SORT_KEYS)
            except TypeError:  # nested too deep, or not of JSON: `allowed` says what is wrong
                self.catalogue.allowed(query.filter)
                raise
            return self._choice(key)
        except DataError as error:
            raise DataError(f"{query.where}: {error}") from None

    def _make_choice(self, text: bytes) -> Choice:
        return self._packed.choice_of(self.catalogue.allowed(orjson.loads(text)))

    def _excluded(self, query: Query, fold: "_Fold | None") -> "NDArray[np.int64]":
        excluded = self.catalogue.positions(query.exclude)
        return excluded if fold is None else np.concatenate([excluded, fold.items])

    def _std(
        self, query: Query, context: Context, items: "NDArray[np.int64]", num_threads: int
    ) -> "NDArray[np.float32]":
        entries = np.array([0, len(context.keys)], np.int64)
        alone = Batch.trusted(self.model.feature_dim, context.values, entries, context.keys)
        try:
            return self.model.std(ranked_rows(alone, self.catalogue.rows, items), num_threads)
        except DataError as error:
            raise DataError(f'{query.where}: "spread" is not possible: {error}') from None

    # --- reasons ---

    def _explanations(
        self, query: Query, context: Context, fold: "_Fold | None", items: "NDArray[np.int64]"
    ) -> list[dict[str, Any]]:
        """Explain scores by a model of just the features that there are, the folded one the last of them."""
        chosen = self.catalogue.rows.take(items)
        indptr, indices, _ = chosen.csr
        n_features = np.diff(indptr) + len(context.keys) + 1
        if int((n_features * n_features).sum()) // 2 > MOST_PAIRS:
            raise DataError(
                f"{query.where}: explanations are limited: the rows have more than {MOST_PAIRS} pairs of features in "
                "all: request fewer items at once"
            )
        features, places = np.unique(np.concatenate([context.keys, indices]), return_inverse=True)
        V, w = self.model.V[features], self.model.w[features]
        n_context = len(context.keys)
        own_keys, own_values = places[:n_context].astype(np.int32), context.values
        if fold is not None:
            V = np.vstack([V, fold.feature.v.astype(np.float32)])
            w = np.append(w, np.float32(fold.feature.w))
            own_keys = np.append(own_keys, np.int32(len(features)))
            own_values = np.append(own_values, np.float32(1))
        small = Model(self.model.predictor_type, self.model.w0, np.ascontiguousarray(w), np.ascontiguousarray(V))
        n = len(items)
        own = Batch.trusted(
            len(w),
            np.tile(own_values, n),
            np.arange(n + 1, dtype=np.int64) * len(own_keys),
            np.tile(own_keys, n).astype(np.int32),
        )
        others = Batch.trusted(len(w), chosen.values, indptr, places[n_context:].astype(np.int32))
        rows = side_by_side(own, others, np.arange(n))
        name_of = str if self._encoder is None else self._encoder.schema.feature_name

        def name(place: int) -> str:
            return fold.name if fold is not None and place == len(features) else name_of(int(features[place]))

        def feature(place: int) -> int | None:  # the folded one is none of the model's
            return None if place == len(features) else int(features[place])

        documents = [explanation.as_document(query.explain, name) for explanation in explain(small, rows)]
        for document in documents:
            for share in document["features"]:
                share["feature"] = feature(share["feature"])
            for share in document["pairs"]:
                share["features"] = [feature(place) for place in share["features"]]
        return documents


@dataclasses.dataclass(frozen=True, slots=True)
class _Fold:
    """What a history has become: a feature, the column that it is of, its name, and the items that were in it."""

    feature: Folded
    column: str
    name: str
    items: "NDArray[np.int64]"
