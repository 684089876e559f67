"""The order of users' items, for ``fm evaluate``: of each user's rows, or of all items less those seen in training.

What users and items are is said as for a training job: by columns, by features such as 0:943, or by the hyperparameters
that the model keeps of its training.
"""

import argparse
import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from fm_core.analysis.evaluation import Evaluation, FullRanking, RowEvaluation
from fm_core.artifact.model_file import read_meta
from fm_core.batch import Batch
from fm_core.cli.arguments import source
from fm_core.cli.names import schema_of
from fm_core.cli.rows import read_rows
from fm_core.errors import ConfigError
from fm_core.hyperparameter_text import from_texts
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model
from fm_core.solvers.positives import Positives

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["METRICS", "Rankings", "add_ranking_arguments"]

#: Of names as ``ndcg_at_10``, what stands before the k: in words.
METRICS = {
    "ndcg": "NDCG", "precision": "precision", "recall": "recall", "map": "MAP", "mrr": "MRR", "coverage": "coverage",
}  # fmt: skip

#: Option: hyperparameter.
_OPTIONS = {
    "user": "user_features", "items": "item_features", "top": "ranking_k", "relevant": "relevance_threshold",
}  # fmt: skip


def add_ranking_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ranking metrics."""
    group = parser.add_argument_group("ranking metrics (default: as in the model's training)")
    group.add_argument("--user", metavar="COLUMN", help="the users' column, or features: 0:943")
    group.add_argument("--items", metavar="A,B", help="the items' columns, the id first, or features: 943:2625")
    group.add_argument("--top", type=int, metavar="K", help="number of top items per user (default: 10)")
    group.add_argument("--relevant", type=float, metavar="LABEL", help="lowest label of a relevant item (default: 1)")
    group.add_argument(
        "--seen", type=source, metavar="FILE", help="training rows: rank all their items except the user's own"
    )


class Rankings:
    """The order of users' items, as ``fm evaluate`` is asked for it.

    Parameters
    ----------
    arguments : argparse.Namespace
    model : Model

    Raises
    ------
    ConfigError
        What is asked for cannot be: there is no such column or feature, or nothing says who users are.
    DataError
        The rows of training have not one user and one item each.
    """

    def __init__(self, arguments: argparse.Namespace, model: Model) -> None:
        self._model = model
        self._hyperparameters = _hyperparameters(arguments, model)
        self._num_threads = max(1, arguments.num_threads)
        self.is_full = arguments.seen is not None
        self._evaluation: Evaluation | None = None
        if self._hyperparameters is None:
            return
        self.k = self._hyperparameters.ranking_k
        if not self.is_full:
            self._evaluation = RowEvaluation(model.predictor_type, self._hyperparameters)
            return
        of_training = copy.copy(arguments)
        of_training.rows = arguments.seen
        known = Positives(self._hyperparameters, read_rows(of_training, model.feature_dim))
        self._evaluation = FullRanking(model, self._hyperparameters, known, self._num_threads)

    @property
    def is_wanted(self) -> bool:
        """Whether there is anything to find out."""
        return self._evaluation is not None

    def update(self, batch: Batch, scores: "NDArray[np.float32]") -> None:
        """Add rows with labels, and their scores."""
        if self._evaluation is None or self._hyperparameters is None:
            return
        if self.is_full:  # of rows without labels each is relevant
            chosen = batch.take(np.flatnonzero(batch.known_labels >= self._hyperparameters.relevance_threshold))
            batch = Batch.trusted(chosen.feature_dim, chosen.values, chosen.indptr, chosen.indices)
        self._evaluation.update(batch, lambda _: scores)

    def values(self) -> dict[str, float]:
        """The metrics of rankings, by their names in the log of a job."""
        found = {} if self._evaluation is None else self._evaluation.values()
        return {name: value for name, value in found.items() if name.partition("_at_")[0] in METRICS}


def _hyperparameters(arguments: argparse.Namespace, model: Model) -> Hyperparameters | None:
    """Return the users, the items, and what counts as relevant; None: no ranking metrics are requested."""
    of_training = from_texts(read_meta(arguments.model).get("training_parameters", {}))
    values: dict[str, Any] = {}
    for option, name in _OPTIONS.items():
        given = getattr(arguments, option)
        value = of_training.get(name) if given is None else given
        if value is not None:
            values[name] = _features(f"--{option}", value, arguments) if isinstance(value, str) else value
    if not values.get("user_features"):
        for option in ("items", "top", "relevant", "seen"):
            if getattr(arguments, option) is not None:
                raise ConfigError(f"--{option} needs --user: name the users' column")
        return None
    if arguments.seen is not None and not values.get("item_features"):
        raise ConfigError("--seen needs --items: name the items' column")
    return Hyperparameters(
        feature_dim=model.feature_dim, num_factors=1, predictor_type=model.predictor_type,
        loss="pointwise" if arguments.seen is None else "pairwise", **values,
    )  # fmt: skip


def _features(option: str, text: str, arguments: argparse.Namespace) -> str:
    if not text or ":" in text:
        return text
    schema = schema_of(arguments)
    if schema is None:
        raise ConfigError(f"{option} is {text[:40]!r}, expected features such as 0:943, as the model has no schema")
    return schema.features_of(text.split(","), option)
