"""Every hyperparameter, declared once: type, range, default and meaning.

The names, ranges and defaults are those of SageMaker's built-in Factorization Machines. Three groups: ``documented``
(Amazon's developer guide), ``hidden`` (in the built-in's printed default configuration, undocumented), and
``extension`` (ours; each default leaves the built-in's behaviour). Validation, the reference table in
docs/reference/hyperparameters.md, ``train --help``, and the parameters of `FMClassifier` and `FMRegressor` are all
made from the fields below. Each says what it decides (see `Parameter`), which a checkpoint, the artifact and the
hosts of a job go by.

Estimators have defaults of their own where SageMaker's suit a million records: one epoch of batches of 1000
leaves the few hundred rows of a notebook unlearned, and a table is often sorted by its label.

Text never gets here: container/training/hyperparameters.py turns SageMaker's strings into the
typed values that this module checks.
"""

import dataclasses
import functools
import math
import types
from collections.abc import Mapping
from typing import Any, Literal

from fm_core.errors import ConfigError
from fm_core.feature_ranges import feature_ranges, have_common
from fm_core.given import MOST_FEATURES
from fm_core.printable import quoted

__all__ = ["Hyperparameters", "Parameter", "parameters"]


@dataclasses.dataclass(frozen=True)
class Parameter:
    """What is known of one hyperparameter besides its default.

    Attributes
    ----------
    name : str
        SageMaker's name, used everywhere.
    kind : {"integer", "number", "choice", "boolean", "text"}
    doc : str
        One sentence.
    group : {"documented", "hidden", "extension"}
    minimum, maximum : int, float or None
        Inclusive bounds.
    choices : tuple of str
        The admitted values of a ``choice``; for the other kinds, words admitted in
        place of a value, such as ``auto``.
    decides : {"model", "run", "host"}
        What depends on the value. model: what is learned, so that a checkpoint of another value is refused.
        run: how far, by which way and with what words the job goes; all hosts of a job have the same value.
        host: what one machine does; hosts may differ.
    has_effect : bool
        False for the built-in's internals that have no meaning here: accepted, ignored.
    only_with : tuple of str
        The solvers that it means something to; empty: to all.
    default_with : str or None
        The one solver that the default is for, where it is one; to others, a value that is not given is not set.
    required : bool
    default : object
        None means "not set".
    in_estimators : bool
        Whether `FMClassifier` and `FMRegressor` have it.
    estimator_default : object
        Its default there.
    """

    name: str
    kind: str
    doc: str
    group: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    decides: Literal["model", "run", "host"]
    has_effect: bool
    only_with: tuple[str, ...]
    default_with: str | None
    in_estimators: bool
    required: bool
    default: Any
    estimator_default: Any

    def expected(self) -> str:
        """Describe the expected value: ``an integer from 1 to 2147483647``."""
        words = {
            "integer": "an integer",
            "number": "a finite number",
            "boolean": "true or false",
            "text": "text",
            "choice": "one of " + ", ".join(self.choices),
        }[self.kind]
        if self.minimum is not None and self.maximum is not None:
            words += f" from {self.minimum:g} to {self.maximum:.10g}"
        elif self.minimum is not None:
            words += f" of at least {self.minimum:g}"
        if self.choices and self.kind != "choice":
            words = " or ".join([*self.choices, words])
        return words

    def problem(self, value: Any) -> str | None:
        """Check a value.

        Parameters
        ----------
        value : any
            A typed value of the parameter.

        Returns
        -------
        problem : str or None
            A sentence that says what is wrong, or None.
        """
        if value is None and not self.required and (self.default is None or self.default_with is not None):
            return None
        if self._admits(value):
            return None
        return f"hyperparameter {self.name} is {quoted(value)}, expected {self.expected()}"

    def _admits(self, value: Any) -> bool:
        if isinstance(value, str):
            return self.kind == "text" or value in self.choices
        if self.kind == "boolean":
            return isinstance(value, bool)
        if isinstance(value, bool) or self.kind not in ("integer", "number"):
            return False
        if not isinstance(value, int if self.kind == "integer" else (int, float)):
            return False
        try:
            if not math.isfinite(value):
                return False
        except OverflowError:  # an integer beyond float64
            return False
        if self.minimum is not None and value < self.minimum:
            return False
        return self.maximum is None or value <= self.maximum


#: What a declaration need not say.
_ORDINARY = {
    "group": "documented",
    "decides": "model",
    "minimum": None,
    "maximum": None,
    "choices": (),
    "has_effect": True,
    "only_with": (),
    "default_with": None,
    "in_estimators": True,
    "unset": None,
}


def _declare(kind: str, doc: str, default: Any = dataclasses.MISSING, **facts: Any) -> Any:
    metadata = {"kind": kind, "doc": doc, **_ORDINARY, "estimator_default": default, **facts}
    return dataclasses.field(default=default, metadata=metadata)


def _integer(doc: str, default: Any = dataclasses.MISSING, minimum: int = 1, **facts: Any) -> Any:
    return _declare("integer", doc, default, minimum=minimum, **facts)


def _number(doc: str, default: Any, **facts: Any) -> Any:
    return _declare("number", doc, default, **facts)


def _choice(doc: str, default: Any, *choices: str, **facts: Any) -> Any:
    return _declare("choice", doc, default, choices=choices, **facts)


#: Of the mini-batch update.
_rate = functools.partial(_number, only_with=("minibatch",))
_way = functools.partial(_choice, only_with=("minibatch",))
_features = functools.partial(_declare, "text", group="extension")


def _ignored(doc: str, default: str) -> Any:
    return _declare("text", doc, default, group="hidden", decides="run", has_effect=False, in_estimators=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """The checked hyperparameters of one training job.

    Raises
    ------
    ConfigError
        Values are of the wrong type or out of range; the message lists every one of them.
    """

    feature_dim: int = _integer(
        "Number of features; every key is below it.", maximum=MOST_FEATURES, in_estimators=False
    )
    num_factors: int = _integer("Number of factors of each feature's vector v (k).", maximum=65536, estimator_default=8)
    predictor_type: str = _choice(
        "What the model predicts: a class, 0 or 1, or a number.",
        dataclasses.MISSING,
        "binary_classifier",
        "regressor",
        in_estimators=False,
    )
    epochs: int | None = _integer(
        "Passes over the training data; unset: as many as the data needs with solver bayes, one with online.",
        None, decides="run", unset=1, default_with="minibatch", estimator_default=None,
    )  # fmt: skip
    mini_batch_size: int = _integer(
        "Records per update of the parameters.", 1000, maximum=MOST_FEATURES, estimator_default=50
    )
    bias_lr: float = _rate("Learning rate of the bias w0.", 0.1, minimum=0)
    linear_lr: float = _rate("Learning rate of the linear weights w.", 0.001, minimum=0, estimator_default=0.01)
    factors_lr: float = _rate("Learning rate of the factors v.", 0.0001, minimum=0, estimator_default=0.01)
    bias_wd: float = _rate("L2 weight decay of the bias.", 0.01, minimum=0)
    linear_wd: float = _rate("L2 weight decay of the linear weights.", 0.001, minimum=0)
    factors_wd: float = _rate("L2 weight decay of the factors.", 0.00001, minimum=0)
    bias_init_method: str = _way("How the bias is initialised.", "normal", "normal", "uniform", "constant")
    bias_init_sigma: float = _rate("Standard deviation, for bias_init_method normal.", 0.01, minimum=0)
    bias_init_scale: float | None = _rate("Half-width s of [-s, s], for bias_init_method uniform.", None, minimum=0)
    bias_init_value: float | None = _rate("The value, for bias_init_method constant.", None)
    linear_init_method: str = _way("How the linear weights are initialised.", "normal", "normal", "uniform", "constant")
    linear_init_sigma: float = _rate("Standard deviation, for linear_init_method normal.", 0.01, minimum=0)
    linear_init_scale: float | None = _rate("Half-width s of [-s, s], for linear_init_method uniform.", None, minimum=0)
    linear_init_value: float | None = _rate("The value, for linear_init_method constant.", None)
    factors_init_method: str = _way("How the factors are initialised.", "normal", "normal", "uniform", "constant")
    factors_init_sigma: float = _rate("Standard deviation, for factors_init_method normal.", 0.001, minimum=0)
    factors_init_scale: float | None = _rate(
        "Half-width s of [-s, s], for factors_init_method uniform.", None, minimum=0
    )
    factors_init_value: float | None = _rate("The value, for factors_init_method constant.", None)
    clip_gradient: float | None = _rate(
        "Clips each gradient, weight decay included, to [-c, c]; unset: no clipping.", None, minimum=0
    )
    eps: float | None = _rate("Added to the denominator of the update; unset: 1e-8.", None, minimum=0)
    rescale_grad: float | None = _rate("Multiplies the gradient; unset: 1 / mini_batch_size.", None)

    use_bias: bool = _declare("boolean", "Whether the model has the bias w0.", True, group="hidden")
    use_linear: bool = _declare("boolean", "Whether the model has the linear weights w.", True, group="hidden")
    batch_metrics_publish_interval: int = _integer(
        "Batches between two metric lines.", 500, group="hidden", decides="run", in_estimators=False
    )
    _optimizer: str = _way(
        "The update rule.", "adam", "adam", "sgd", "adagrad", "ftrl", group="hidden", in_estimators=False
    )
    _learning_rate: float = _rate(
        "Base learning rate, multiplied with each *_lr.", 1.0, minimum=0, group="hidden", in_estimators=False
    )
    _wd: float = _rate(
        "Base weight decay, multiplied with each *_wd.", 1.0, minimum=0, group="hidden", in_estimators=False
    )
    _kvstore: str = _choice(
        "How several hosts work together.", "auto", "auto", "local", "device", "dist_sync", "dist_async",
        "dist_device_sync", group="hidden", decides="run", in_estimators=False,
    )  # fmt: skip
    _num_gpus: int | str = _integer(
        "Number of GPUs to use for dense data; auto: all of them.",
        "auto", minimum=0, choices=("auto",), group="hidden", decides="host", in_estimators=False,
    )  # fmt: skip
    _log_level: str = _choice(
        "Least severe log line that is printed.", "info", "debug", "info", "warning", "error", "critical",
        group="hidden", decides="host", in_estimators=False,
    )  # fmt: skip
    _tuning_objective_metric: str = _declare(
        "text",
        "Set by SageMaker's hyperparameter tuning; every metric is printed in any case.",
        "", group="hidden", decides="run", in_estimators=False,
    )  # fmt: skip
    _data_format: str = _ignored("Data format of the built-in's reader.", "record")
    _num_kv_servers: str = _ignored("Parameter servers of the built-in's engine.", "auto")
    _use_full_symbolic: str = _ignored("Network variant of the built-in's engine.", "true")

    _sync_interval: int = _integer(
        "Batches on each host between two averages of the hosts' parameters, for _kvstore dist_async.",
        20, group="extension", decides="run", in_estimators=False,
    )  # fmt: skip
    _wire_dtype: str = _choice(
        "What hosts send sums, parameters and gradients as; bfloat16 sends half the bytes and rounds to 8 bits.",
        "float32", "float32", "bfloat16", group="extension", in_estimators=False,
    )  # fmt: skip
    seed: int = _integer("Seed of every random number.", 0, minimum=0, maximum=2**63 - 1, group="extension")
    num_threads: int | str = _integer(
        "Solver threads, in addition to the reader thread; auto: the number of usable cores, minus one for decoding "
        "if there are several.",
        "auto", choices=("auto",), maximum=1024, group="extension", decides="host",
    )  # fmt: skip
    solver: str = _choice(
        "The training method. minibatch: as in the built-in; bayes: Bayesian, by sampling, with nothing to tune; "
        "online: one pass over a stream of rows, with nothing to tune; auto: bayes for sparse data that fits in "
        "memory, online for larger sparse data, minibatch with early stopping for dense data.",
        "minibatch", "minibatch", "bayes", "online", "auto", group="extension", estimator_default="auto",
    )  # fmt: skip
    early_stopping: bool = _declare(
        "boolean",
        "Whether to stop when the validation score no longer improves and keep the best epoch; without validation "
        "data, a share of the records is held out. Solver auto always does so for dense data.",
        False, group="extension", only_with=("minibatch",), estimator_default=True,
    )  # fmt: skip
    validation_fraction: float | None = _rate(
        "Share of the records, below 1, that is held out and scored after every epoch if there is no validation "
        "data; unset: none, or .1 with early_stopping.",
        None, minimum=0, group="extension",
    )  # fmt: skip
    standardize: bool = _declare(
        "boolean",
        "Whether columns and numeric targets are brought to a similar scale for learning, which takes one more pass "
        "over the data, and the model is converted back; solver auto always does this for dense data.",
        False, group="extension", only_with=("minibatch",), in_estimators=False,
    )  # fmt: skip
    _bayes_method: str = _choice(
        "The method of solver bayes: gibbs, by sampling; variational, deterministic, in fewer sweeps.",
        "gibbs", "gibbs", "variational", group="extension", only_with=("bayes",), in_estimators=False,
    )  # fmt: skip
    feature_groups: str = _declare(
        "text",
        "Groups of features for which solver bayes learns separate priors. auto: the columns of a schema.json in "
        "the channel, otherwise positions of keys in rows of equal length, otherwise one group; none: one group; "
        "943,1682: the number of features in each group, in order.",
        "auto", choices=("auto", "none"), group="extension", only_with=("bayes",),
    )  # fmt: skip
    lazy_update: bool = _declare(
        "boolean", "true: sparse batches update the features they contain; false: every feature, every batch.",
        True, group="extension", only_with=("minibatch",),
    )  # fmt: skip
    shuffle: bool = _declare(
        "boolean", "Whether records are shuffled, within a bounded buffer.",
        False, group="extension", only_with=("minibatch", "online"), estimator_default=True,
    )  # fmt: skip
    shuffle_buffer_size: int = _integer(
        "Records in the shuffle buffer.", 100_000, group="extension", only_with=("minibatch", "online")
    )
    early_stopping_patience: int | None = _integer(
        "Epochs without a better validation score after which training stops; unset: never.", None, group="extension"
    )
    max_bad_records: int = _integer(
        "How many damaged records to skip, with a log line for each, in a pass before the job fails.",
        0, minimum=0, group="extension", decides="run", in_estimators=False,
    )  # fmt: skip
    checkpoint_interval_s: float = _number(
        "Seconds between two checkpoints, if the job has a folder for them.",
        60.0, minimum=0, group="extension", decides="host", in_estimators=False,
    )  # fmt: skip
    positive_class_weight: float | None = _number(
        "Weight of records with label 1, relative to records with label 0, for a binary_classifier. It applies to the "
        "loss and to metrics of training and validation data, not to test data; unset: 1.",
        None, minimum=0, maximum=1e9, group="extension", in_estimators=False,
    )  # fmt: skip
    loss: str = _choice(
        "The loss: pointwise, the error of each record; or a ranking loss over positives and sampled negatives: "
        "pairwise (BPR), softmax, or warp.",
        "pointwise", "pointwise", "pairwise", "softmax", "warp", group="extension",
    )  # fmt: skip
    negatives: int = _integer(
        "Negatives to sample for each positive, for a loss other than pointwise.", 8, maximum=10_000, group="extension"
    )
    negative_sampling: str = _choice(
        "How negatives are sampled: uniform, all items equally; popularity, by an item's share of the positives.",
        "uniform", "uniform", "popularity", group="extension",
    )  # fmt: skip
    user_features: str = _features(
        "The users' features, such as 0:943 (the first, and the one after the last); or a column of schema.json.", ""
    )
    item_features: str = _features(
        "The items' features, ids first, such as 943:2625,2625:2644; or columns of schema.json.", ""
    )

    ranking_k: int = _integer(
        "How many top items of each user the ranking metrics use.", 10, maximum=10_000, group="extension",
        decides="run",
    )  # fmt: skip
    relevance_threshold: float = _number(
        "The lowest label of a relevant item, for the ranking metrics.", 1.0, group="extension", decides="run"
    )

    @property
    def n_epochs(self) -> int | None:
        """The maximum number of epochs; None: the solver decides when to stop."""
        epochs = parameters()["epochs"]
        return int(epochs.default) if self.epochs is None and self.solver == epochs.default_with else self.epochs

    def without_effect(self) -> list[str]:
        """List the hyperparameters that differ from their default but have no effect with this solver."""
        return [
            name
            for name, parameter in parameters().items()
            if parameter.only_with
            and self.solver not in parameter.only_with
            and self.solver != "auto"
            and getattr(self, name) != parameter.default
        ]

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if type(value).__module__ == "numpy" and hasattr(value, "item"):  # as searches over parameters give them
                value = value.item()
                wider = type(value).__module__ == "numpy"  # longdouble, of which Python has no type
                object.__setattr__(self, field.name, float(value) if wider else value)
        problems = self.problems({f.name: getattr(self, f.name) for f in dataclasses.fields(self)})
        if problems:
            raise ConfigError("; ".join(problems))

    @classmethod
    def problems(cls, values: Mapping[str, Any]) -> list[str]:
        """List every problem of a set of typed values; absent names have defaults, callers refuse unknown ones.

        Parameters
        ----------
        values : mapping of str to any

        Returns
        -------
        problems : list of str
        """
        table = parameters()
        missing = [p.name for p in table.values() if p.required and values.get(p.name) is None]
        found = []
        if missing:
            found.append(
                f"no value was given for {', '.join(missing)}, required hyperparameter{'s' if len(missing) > 1 else ''}"
            )
        found += [
            problem
            for name, parameter in table.items()
            if name in values and name not in missing and (problem := parameter.problem(values[name]))
        ]
        for what in ("bias", "linear", "factors"):
            method = values.get(f"{what}_init_method", "normal")
            needed = {"uniform": f"{what}_init_scale", "constant": f"{what}_init_value"}.get(method)
            if needed and values.get(needed) is None:
                found.append(f"{what}_init_method is {method}, which needs {needed}: set it")
        if values.get("positive_class_weight") is not None:
            found += _problems_of_class_weight(values)
        return found + _problems_of_items(values)


def _problems_of_class_weight(values: Mapping[str, Any]) -> list[str]:
    wanted = {"predictor_type": "binary_classifier", "loss": "pointwise"}
    return [
        f"{name} is {values[name]}, but positive_class_weight needs {name} {word}: remove positive_class_weight"
        for name, word in wanted.items()
        if values.get(name, word) != word
    ]


def _problems_of_items(values: Mapping[str, Any]) -> list[str]:
    found = []
    loss, feature_dim = values.get("loss", "pointwise"), values.get("feature_dim")
    parts: list[range] = []
    for name, most in (("user_features", 1), ("item_features", None)):
        text = values.get(name, "")
        if not text and loss in ("pairwise", "softmax", "warp"):
            found.append(f"loss is {loss}, which needs {name}: set it")
        elif isinstance(text, str) and ":" in text and type(feature_dim) is int:  # else names of columns
            try:
                parts += feature_ranges(name, text, feature_dim, most)
            except ConfigError as error:
                found.append(str(error))
    if not found and have_common(parts):
        found.append("user_features and item_features share a feature, expected ranges that do not overlap")
    return found


@functools.cache
def parameters() -> Mapping[str, Parameter]:
    """The declared hyperparameters by name, in the order of the reference table."""
    found = {
        f.name: Parameter(
            name=f.name,
            required=f.default is dataclasses.MISSING,
            default=f.metadata["unset"] if f.default in (None, dataclasses.MISSING) else f.default,
            **{fact: value for fact, value in f.metadata.items() if fact != "unset"},
        )
        for f in dataclasses.fields(Hyperparameters)
    }
    return types.MappingProxyType(found)
