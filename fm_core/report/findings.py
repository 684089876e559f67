"""Sentences about what deserves attention after a training: about training, validation and test rows.

A rule is a function of the facts of a job that returns a sentence or nothing; `RULES` lists them in the order in which
they are printed. Rules about test rows allow for chance: if few rows were scored, they only say whether these show that
anything was learned; without test rows, they use the training rows. A rule that advises to train longer is silent if
the model already overfits its training data.

Rows count by their weights, and those of label 1 also by positive_class_weight, as in training: a model is judged by
the loss that it was trained for.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fm_core.hyperparameters import Hyperparameters
from fm_core.links import link_for
from fm_core.report.history import Sample, TrainingRecord
from fm_core.report.metric_words import in_words

__all__ = ["RULES", "findings"]

#: Test rows below which nothing more is said of scores than whether they show that something was learned.
_FEW = 30
#: Rows below which they cannot even show that.
_TOO_FEW = 5
#: How much larger the loss of test rows is than that of training rows where a model overfits.
_GAP = 1.25
#: Standard errors beyond which a difference is not chance.
_SURE = 4.0
#: Scores are so good that a column may tell the label: the share of the baseline's loss that is left.
_TOO_GOOD = {True: 0.03, False: 1e-4}
#: A loss that rises by less wavers.
_RISE = 1.01
#: A probability counts as so far away from 0 and 1, as in fm_core.metrics.
_NEAREST = 1e-12
#: Labels whose mean, or deviation, is so far from 1 are slow to learn by gradients.
_FAR = 100.0
#: The share of a column's values that training did not see, beyond which it is told.
_MANY_UNSEEN = 0.25


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known of a job.

    Attributes
    ----------
    record : TrainingRecord
    hyperparameters : Hyperparameters
    """

    record: TrainingRecord
    hyperparameters: Hyperparameters

    @property
    def is_classifier(self) -> bool:
        """Whether scores are probabilities."""
        return link_for(self.hyperparameters.predictor_type).is_classifier

    @property
    def loss(self) -> str:
        """The metric that is the loss, in words."""
        return in_words(self.loss_metric)

    @property
    def loss_metric(self) -> str:
        """The name of the metric that is the loss."""
        return link_for(self.hyperparameters.predictor_type).loss_metric

    @functools.cached_property
    def curve(self) -> list[float]:
        """The training loss of each epoch."""
        return [epoch["train"][self.loss_metric] for epoch in self.record.epochs]

    @functools.cached_property
    def held_out(self) -> list[float]:
        """The validation loss of each epoch that has one."""
        return [epoch["validation"][self.loss_metric] for epoch in self.record.epochs if "validation" in epoch]

    @functools.cached_property
    def of_kept(self) -> float:
        """The training loss of the saved model; NaN if there is none."""
        best = self.record.best_epoch if self.hyperparameters.early_stopping_patience is not None else None
        known = {epoch["epoch"]: epoch["train"][self.loss_metric] for epoch in self.record.epochs}
        return known.get(best, self.curve[-1]) if self.curve else math.nan

    @functools.cached_property
    def scored(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores and labels of test rows, where the score is finite; none if there are few."""
        scores, labels, _ = self._test_rows
        return scores, labels

    @property
    def counted(self) -> NDArray[np.float64]:
        """How much each of these rows counts."""
        return self._test_rows[2]

    @functools.cached_property
    def _test_rows(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        found = self.rows_of(self.record.sample)
        return found if len(found[0]) >= _FEW else (np.empty(0), np.empty(0), np.empty(0))

    def rows_of(self, sample: Sample) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Give scores that are finite, the labels of their rows, and how much each row counts: more than 0."""
        columns = (sample.scores, sample.labels, sample.weights)
        scores, labels, counted = (column.astype(np.float64) for column in columns)
        if self.is_classifier and self.hyperparameters.positive_class_weight is not None:
            counted = np.where(labels > 0.5, self.hyperparameters.positive_class_weight, 1.0) * counted
        usable = np.isfinite(scores) & (np.abs(scores) < 1e100) & (counted > 0)
        return scores[usable], labels[usable], counted[usable]

    @functools.cached_property
    def losses(self) -> NDArray[np.float64]:
        """The loss of each test row."""
        return self._losses_of(*self.scored)

    @functools.cached_property
    def losses_of_baseline(self) -> NDArray[np.float64]:
        """That of each test row if every score were the mean of their labels."""
        labels = self.scored[1]
        mean = np.average(labels, weights=self.counted) if len(labels) else 0.0
        return self._losses_of(np.full(len(labels), mean), labels)

    @property
    def mean_loss(self) -> float:
        """The loss of test rows; NaN if there are none."""
        return float(np.average(self.losses, weights=self.counted)) if len(self.losses) else math.nan

    @property
    def mean_loss_of_baseline(self) -> float:
        """That of the baseline; NaN if there are none."""
        return float(np.average(self.losses_of_baseline, weights=self.counted)) if len(self.losses) else math.nan

    def gain_of(self, sample: Sample, mean: float | None = None) -> tuple[float, float, float]:
        """How much smaller the loss of rows is than that of the baseline.

        Parameters
        ----------
        sample : Sample
            Of at least one finite score.
        mean : float, optional
            What the baseline says of each row; by default the mean of their labels.

        Returns
        -------
        gain : float
            In standard errors; 0 where there are too few rows to know them, and the gain is none or above 0.
        loss, of_baseline : float
        """
        scores, labels, counted = self.rows_of(sample)
        losses = self._losses_of(scores, labels)
        known = np.average(labels, weights=counted) if mean is None else mean
        of_baseline = self._losses_of(np.full(len(labels), known), labels)
        gain, error = _mean_and_error(of_baseline - losses, counted)
        if len(losses) < _TOO_FEW:
            in_errors = min(0.0, gain)
        else:
            in_errors = gain / error if error > 0 else math.copysign(math.inf, gain or -1)
        return in_errors, float(np.average(losses, weights=counted)), float(np.average(of_baseline, weights=counted))

    def _losses_of(self, scores: NDArray[np.float64], labels: NDArray[np.float64]) -> NDArray[np.float64]:
        if not self.is_classifier:
            return np.asarray((scores - labels) ** 2)
        p = np.clip(scores, _NEAREST, 1 - _NEAREST)
        return np.asarray(-np.where(labels > 0.5, np.log(p), np.log1p(-p)))

    @functools.cached_property
    def is_overfitted(self) -> bool:
        """Whether test rows have a loss so much larger than training rows that it is not chance."""
        if not len(self.losses) or not self.of_kept > 0:
            return False
        if self.mean_loss < 0.05 * self.mean_loss_of_baseline:
            return False  # both are next to nothing
        loss, error = _mean_and_error(self.losses, self.counted)
        return bool(loss - _SURE * error > _GAP * self.of_kept)


def _mean_and_error(numbers: NDArray[np.float64], counted: NDArray[np.float64]) -> tuple[float, float]:
    """Give the weighted mean and its standard error; of n equal weights the deviation by the root of n."""
    mean = float(np.average(numbers, weights=counted))
    return mean, math.sqrt(float(np.sum((counted * (numbers - mean)) ** 2))) / float(counted.sum())


def findings(record: TrainingRecord, hyperparameters: Hyperparameters) -> list[str]:
    """Return sentences about what deserves attention.

    Parameters
    ----------
    record : TrainingRecord
    hyperparameters : Hyperparameters

    Returns
    -------
    sentences : list of str
    """
    facts = Facts(record, hyperparameters)
    with np.errstate(all="ignore"):
        return [sentence for rule in RULES for sentence in [rule(facts)] if sentence]


# --- of the training loss ----------------------------------------------------------------------


def _not_finite(facts: Facts) -> str | None:
    if len(facts.curve) < 2 or np.isfinite(facts.curve).all():
        return None
    return f"The training {facts.loss} was not finite in every epoch: lower the learning rates."


def _rises(facts: Facts) -> str | None:
    curve = facts.curve
    # samples go up and down, and their mean learns what it forgets: a chain has no learning rates
    if len(curve) < 2 or not np.isfinite(curve).all() or facts.hyperparameters.solver == "bayes":
        return None
    rises = sum(after > _RISE * before for before, after in itertools.pairwise(curve))
    if rises < max(1, (len(curve) - 1) / 3):
        return None
    return f"The training {facts.loss} rose in {rises} of {len(curve) - 1} epochs: learning rates may be too high."


def _still_falls(facts: Facts) -> str | None:
    curve = facts.curve
    if len(curve) < 2 or not np.isfinite(curve).all() or _rises(facts) or not 0 < curve[-2] * 0.98 > curve[-1]:
        return None
    if facts.is_overfitted or _validation_rises(facts) or _worse_than_baseline(facts):
        return None  # more of the same would not help
    if facts.hyperparameters.solver == "bayes" and facts.hyperparameters.epochs is None:
        return None  # it went on until more would gain nearly nothing: _more_sweeps tells where it would
    if facts.hyperparameters.solver == "bayes" and _more_sweeps(facts):
        return None  # which says it better
    if facts.hyperparameters.solver == "bayes":
        return f"The training {facts.loss} still changed in the last sweep: more epochs may improve it."
    return (
        f"The training {facts.loss} still fell by {100 * (1 - curve[-1] / curve[-2]):.1f} % in the last epoch: "
        "more epochs, or higher learning rates, may improve it."
    )


def _more_sweeps(facts: Facts) -> str | None:
    sweeps = (facts.record.learned or {}).get("sweeps")
    if sweeps is None or not sweeps["more_would_help"]:
        return None
    return (
        f"The model is the mean of {sweeps['samples']} samples, worth {sweeps['effective']:.0f} independent ones: "
        f"more epochs would gain about {sweeps['gain']:.1g} nats a row."
    )


def _one_epoch(facts: Facts) -> str | None:
    if len(facts.curve) != 1 or facts.hyperparameters.solver == "online":  # which never makes a second one
        return None
    return "There was only one epoch, so convergence is unknown."


# --- of validation rows ------------------------------------------------------------------------


def _never_finite(facts: Facts) -> str | None:
    if not facts.held_out or np.isfinite(facts.held_out).any():
        return None
    return f"The validation {facts.loss} was never finite: its rows, or the learning rates, are far too large."


def _validation_rises(facts: Facts) -> str | None:
    held_out = facts.held_out
    if not np.isfinite(held_out).any():
        return None
    best = int(np.argmin([value if math.isfinite(value) else math.inf for value in held_out]))
    if best == len(held_out) - 1 or not held_out[-1] > held_out[best] * 1.01:
        return None
    kept = " (whose model was kept)" if facts.hyperparameters.early_stopping_patience is not None else ""
    remedy = "" if kept else "; set early_stopping_patience, or raise factors_wd, or use fewer factors"
    return (
        f"The validation {facts.loss} was best after epoch {best}{kept} and has risen since: the model overfits the "
        f"training data{remedy}."
    )


# --- of test rows ------------------------------------------------------------------------------


def _overfits(facts: Facts) -> str | None:
    if not facts.is_overfitted:
        return None
    times = facts.mean_loss / facts.of_kept
    remedy = "use fewer factors, or merge rare ids"
    if facts.hyperparameters.solver != "bayes":
        remedy = (
            "use solver bayes, or early_stopping_patience with validation data, or raise factors_wd, or fewer factors"
        )
    return (
        f"The {facts.loss} of test rows, {facts.mean_loss:.4g}, is {times:.3g} times that of training rows: the "
        f"model overfits the training data; {remedy}."
    )


def _worse_than_baseline(facts: Facts) -> str | None:
    if not len(facts.losses):
        return None
    gain, loss, of_baseline = facts.gain_of(facts.record.sample)
    if not np.isfinite(loss) or gain > _SURE / 2:
        return None
    known = "the share of label 1" if facts.is_classifier else "their mean"
    if gain < -_SURE and loss > of_baseline:
        return (
            f"The scores of test rows are worse than predicting {known} for each row: their {facts.loss} is "
            f"{loss:.4g}, and that of the baseline {of_baseline:.4g}. Check the scale of numeric features and the "
            "learning rates."
        )
    figures = f"{facts.loss} {loss:.4g}, of the baseline {of_baseline:.4g}"
    if loss < of_baseline:
        return (
            f"The {len(facts.losses):,} test rows do not show that the scores are better than predicting {known} for "
            f"each row ({figures}): the difference may be chance."
        )
    return (
        f"The scores of test rows are no better than predicting {known} for each row ({figures}): the features carry "
        "no information, or were not learned."
    )


def _few_rows_show_little(facts: Facts) -> str | None:
    n = len(facts.rows_of(facts.record.sample)[0])
    if not 0 < n < _FEW:
        return None
    _, learned, counted = facts.rows_of(facts.record.learned_sample)
    mean = float(np.average(learned, weights=counted)) if len(learned) else None
    gain, loss, of_baseline = facts.gain_of(facts.record.sample, mean)
    if gain > _SURE:
        return None
    known = f"predicting {'the share of label 1' if facts.is_classifier else 'the mean label'} for each row"
    figures = f"({facts.loss} {loss:.4g}, of the baseline {of_baseline:.4g})"
    rows = f"The {n} test rows" if n > 1 else "The only test row"
    if loss < of_baseline:
        are = "are too few" if n > 1 else "is too little"
        return f"{rows} {are} to tell whether the scores are better than {known} {figures}."
    are = "are scored no better" if n > 1 else "is scored no better"
    return f"{rows} {are} than by {known} {figures}: so few prove little, but nothing shows that the model has learned."


def _not_learned(facts: Facts) -> str | None:
    """Look at the rows that were learned from, where no other ones were scored."""
    if len(facts.record.sample.labels) or not len(facts.rows_of(facts.record.learned_sample)[0]):
        return None
    if facts.hyperparameters.loss != "pointwise":
        return None  # whose scores are only compared with each other
    gain, loss, of_baseline = facts.gain_of(facts.record.learned_sample)
    if gain > _SURE / 2:
        return None
    known = "the share of label 1" if facts.is_classifier else "their mean"
    return (
        f"Even the rows that were learned from are scored no better than by predicting {known} for each row "
        f"({facts.loss} {loss:.4g}, of the baseline {of_baseline:.4g}): the features carry no information, or were "
        "not learned."
    )


def _off_on_average(facts: Facts) -> str | None:
    scores, labels = facts.scored
    if not len(scores):
        return None
    mean, error = _mean_and_error(scores - labels, facts.counted)
    score, share = (float(np.average(numbers, weights=facts.counted)) for numbers in (scores, labels))
    deviation = math.sqrt(float(np.average((labels - share) ** 2, weights=facts.counted)))
    least = 0.02 if facts.is_classifier else 0.1 * deviation
    if not abs(mean) > max(_SURE * error, least):
        return None
    where = "too high" if mean > 0 else "too low"
    if facts.is_classifier:
        return (
            f"Scores of test rows are {where}: {score:.3g} on average, where {share:.3g} have label 1. "
            "Training and test rows may differ, or the bias was not learned."
        )
    return (
        f"Scores of test rows are {where} by {abs(mean):.4g} on average: training and test rows may differ, or the "
        "bias was not learned."
    )


def _overconfident(facts: Facts) -> str | None:
    """Calibrate the log odds against the labels: the slope of a logistic regression on them."""
    scores, labels = facts.scored
    if not facts.is_classifier or not len(scores) or not 0 < labels.mean() < 1:
        return None
    z = np.log(np.clip(scores, 1e-9, 1 - 1e-9) / (1 - np.clip(scores, 1e-9, 1 - 1e-9)))
    slope, error = _slope(z, labels, facts.counted)
    if not (slope + _SURE * error < 0.8):
        return None
    return (
        f"Scores of test rows are overconfident: log-odds should be {max(slope, 0):.2g} times as large. See the "
        "calibration plot; solver bayes, early stopping or more weight decay help."
    )


def _slope(z: NDArray[np.float64], labels: NDArray[np.float64], counted: NDArray[np.float64]) -> tuple[float, float]:
    """Give the slope of a logistic regression of labels on one number, and its standard error; by Newton's method."""
    a, b = 0.0, 1.0
    counted = counted * counted.sum() / (counted**2).sum()  # as many as there are independent rows
    rows = np.stack([np.ones_like(z), z], axis=1)
    for _ in range(30):
        p = 1 / (1 + np.exp(-np.clip(a + b * z, -500, 500)))
        hessian = rows.T @ (rows * (counted * p * (1 - p))[:, np.newaxis]) + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, rows.T @ (counted * (labels - p)))
        a, b = a + float(np.clip(step[0], -2, 2)), b + float(np.clip(step[1], -0.5, 0.5))
        if np.abs(step).max() < 1e-8:
            break
    return b, math.sqrt(float(np.linalg.inv(hessian)[1, 1]))


def _tells(facts: Facts) -> str | None:
    names = facts.record.telling
    if not names:
        return None
    shown = ", ".join(f"'{name[:40]}'" for name in names[:5]) + (", ..." if len(names) > 5 else "")
    if len(names) == 1:
        return (
            f"Column {shown} alone determines the label: leave it out if it is not known before the label (--ignore)."
        )
    return (
        f"Columns {shown} each determine the label alone: leave out those that are not known before the label "
        "(--ignore)."
    )


def _unseen(facts: Facts) -> str | None:
    shares = {name: share for name, share in facts.record.unseen.items() if share > _MANY_UNSEEN}
    if not shares:
        return None
    shown = ", ".join(f"{100 * share:.0f} % of '{name[:40]}'" for name, share in list(shares.items())[:5])
    return (
        f"Of the test rows' values, {shown} are rare or new: the model treats all of them as one value, so scores of "
        "such rows are less certain."
    )


def _too_good(facts: Facts) -> str | None:
    if facts.record.telling:
        return None  # which says it better
    if not len(facts.losses) or not facts.mean_loss_of_baseline > 0:
        return None
    if not facts.mean_loss < _TOO_GOOD[facts.is_classifier] * facts.mean_loss_of_baseline:
        return None
    return (
        "The test rows are scored almost perfectly: check whether a column reveals the label and is unknown when you "
        "predict."
    )


def _label_scale(facts: Facts) -> str | None:
    labels = facts.scored[1]
    if facts.is_classifier or not len(labels) or facts.hyperparameters.solver == "bayes":
        return None
    far = max(abs(float(labels.mean())), float(labels.std()))
    if far < _FAR or facts.mean_loss < 0.5 * facts.mean_loss_of_baseline:
        return None
    return (
        f"Labels are far from 1 ({labels.mean():.4g} on average): solver minibatch learns them slowly; scale them, or "
        "use solver bayes."
    )


def _out_of_balance(facts: Facts) -> str | None:
    labels = facts.record.sample.labels
    if not facts.is_classifier or not len(labels):
        return None
    weights = facts.record.sample.weights.astype(np.float64)  # positive_class_weight does not make a class less rare
    if not weights.sum() > 0:
        return None
    share = float(np.average(labels > 0.5, weights=weights))
    if 0.1 <= share <= 0.9:
        return None
    return (
        f"Labels are imbalanced: {100 * share:.3g} % of the test rows have label 1, so accuracy says "
        "little; look at the ROC curve and the calibration."
    )


def _not_tested(facts: Facts) -> str | None:
    record = facts.record
    if len(record.sample.labels):
        return None
    why = f"The test data was not scored: {record.untested}" if record.untested else "There was no test channel"
    return f"{why}, so the quality on unseen rows is unknown."


#: In the order in which they are said.
RULES: Sequence[Callable[[Facts], str | None]] = (
    _not_finite, _rises, _still_falls, _more_sweeps, _one_epoch, _never_finite, _validation_rises, _overfits,
    _worse_than_baseline, _few_rows_show_little, _not_learned,
    _off_on_average, _overconfident, _tells, _too_good, _unseen, _label_scale, _out_of_balance, _not_tested,
)  # fmt: skip
