"""The report: its sentences, and the page in a browser, light and dark, wide and narrow."""

import html.parser
import re
import warnings

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from scipy.sparse import csr_array

import fm_core
from fm_core.batch import Batch
from fm_core.hyperparameters import Hyperparameters
from fm_core.model import Model
from fm_core.report.findings import findings
from fm_core.report.history import Mapped, TrainingRecord
from fm_core.report.page import page
from fm_core.training.callbacks import EpochReport, ResumeReport, ValidationReport
from fm_core.training.fit import fit
from tests.examples.browser import CHROMIUM, browser
from tests.fm_core.strategies import model_of

METRICS = {
    "regressor": ("rmse", "mse", "absolute_loss"),
    "binary_classifier": (
        "binary_classification_accuracy", "binary_classification_cross_entropy", "binary_f_1.000",
    ),
}  # fmt: skip
KINDS = pytest.mark.parametrize("kind", METRICS)


def settings_of(kind="regressor", **others):
    return Hyperparameters(feature_dim=30, num_factors=3, predictor_type=kind, **others)


def record_of(kind="regressor", train=(3.0, 2.0, 1.99), validation=None, n_tested=500, positive=0.5):
    record = TrainingRecord()
    for i, loss in enumerate(train):
        epoch = {"epoch": i, "train": dict.fromkeys(METRICS[kind], loss), "n_records": 100, "seconds": 0.25}
        if validation is not None:
            epoch |= {"validation": dict.fromkeys(METRICS[kind], validation[i]), "validation_seconds": 0.1}
        record.epochs.append(epoch)
    if n_tested:
        random = np.random.default_rng(0)
        if kind == "binary_classifier":
            scores = random.random(n_tested) ** ((1 - positive) / positive)  # whose mean is the share
            labels = random.random(n_tested) < scores
        else:
            labels = random.normal(size=n_tested)
            scores = labels + random.normal(size=n_tested) / 3
        record.sample.add(scores.astype(np.float32), labels.astype(np.float32))
        record.tested(dict.fromkeys(METRICS[kind], 1.5), n_tested, 0.1)
    return record


@KINDS
@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"train": (3.0, 2.0, 1.0)}, "still fell by 50.0 % in the last epoch"),
        ({"train": (1.0, 2.0, 1.9)}, "rose in 1 of 2 epochs: learning rates may be too high"),
        ({"train": (1.0,)}, "only one epoch"),
        ({"validation": (2.0, 1.0, 1.5)}, "was best after epoch 1 and has risen since"),
        ({"n_tested": 0}, "no test channel"),
    ],
    ids=["too low", "too high", "one epoch", "overfitting", "no test"],
)
def test_what_stands_out_is_said(kind, facts, sentence):
    (found,) = findings(record_of(kind, **facts), settings_of(kind))
    assert sentence in found


@KINDS
def test_of_a_training_that_went_well_nothing_is_said(kind):
    assert findings(record_of(kind, validation=(3.0, 2.0, 2.0)), settings_of(kind)) == []


def test_labels_out_of_balance_are_said_of_classifiers():
    (found,) = findings(record_of("binary_classifier", positive=0.02), settings_of("binary_classifier"))
    assert "Labels are imbalanced" in found


def test_features_that_never_occurred_are_counted():
    rows = np.zeros((20, 30), np.float32)
    rows[:, 4:] = np.random.default_rng(0).normal(size=(20, 26))
    batch, settings = Batch.from_csr(csr_array(rows), np.arange(20)), settings_of(mini_batch_size=20)
    model = fit(lambda epoch: [batch], settings).model
    assert "4 of 30 features never occurred" in page(record_of(), model, settings)
    batch = Batch.from_csr(csr_array(rows + 1), np.arange(20))
    model = fit(lambda epoch: [batch], settings).model
    assert "never occurred" not in page(record_of(), model, settings)


def test_of_a_large_model_the_first_features_are_looked_at():
    settings = Hyperparameters(feature_dim=300_000, num_factors=10, predictor_type="regressor")
    model = Model.initialise(settings)
    model.w[:1000] += 1
    assert "199,000 of the first 200,000 features never occurred" in page(record_of(), model, settings)


class Tags(html.parser.HTMLParser):
    VOID = ("meta", "link", "br")

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@KINDS
@pytest.mark.parametrize(
    "facts",
    [
        {"validation": (3.0, 2.5, 2.6)},
        {"n_tested": 0},
        {"n_tested": 1},
        {"train": (1.0,), "n_tested": 3},
        {"train": ()},
        {"train": (float("nan"), 1.0, 1.0)},
        {"n_tested": 60_000},
    ],
    ids=str,
)
def test_a_page_is_well_formed_and_loads_nothing(kind, facts):
    tags = Tags()
    tags.feed(page(record_of(kind, **facts), model_of(30, 3, kind), settings_of(kind)))
    assert tags.open == []
    assert "script" not in {tag for tag, _ in tags.seen}
    for _, attributes in tags.seen:
        assert not {"src", "href"} & {name for name in attributes if not str(attributes[name]).startswith("#")}


ANY_NUMBER = st.sampled_from(
    [0.0, 1.0, -1.0, 1e-40, 1e8, 1e17, -1e30, 3e38, 1e300, float("inf"), -float("inf"), float("nan")]
) | st.floats(width=32)
SCORES = st.lists(ANY_NUMBER, min_size=1, max_size=5) | ANY_NUMBER.map(lambda one: [one] * 5)


@KINDS
@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(data=st.data())
def test_a_page_is_made_whatever_numbers_a_training_gave(kind, data):
    curve = data.draw(st.lists(ANY_NUMBER, max_size=4), label="curve")
    record = record_of(kind, curve, validation=data.draw(st.permutations(curve)), n_tested=0)
    record.test = dict.fromkeys(METRICS[kind], data.draw(ANY_NUMBER, label="test"))
    scores = data.draw(SCORES if kind == "regressor" else st.lists(st.floats(0, 1) | st.just(float("nan")), min_size=1))
    labels = data.draw(st.lists(st.sampled_from([0, 1, 1e30]), min_size=len(scores), max_size=len(scores)))
    with np.errstate(over="ignore"):
        scores = np.array(scores).astype(np.float32)
    record.sample.add(scores, np.minimum(labels, 1 if kind == "binary_classifier" else 1e30).astype(np.float32))
    model = model_of(30, 3, kind)
    model.V[:] = np.float32(data.draw(st.sampled_from([0, 1e-40, 1, 1e20, 1e38])))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = page(record, model, settings_of(kind, early_stopping_patience=data.draw(st.sampled_from([None, 1]))))
    n_left_out = int((~np.isfinite(scores)).sum())
    if 0 < n_left_out < len(scores):
        assert f"Left out: {n_left_out} of {len(scores)} whose score is not finite." in text


def tiles_of(text):
    return dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text))


def validated(record, losses, kind="binary_classifier", first=0):
    """Tell a record of epochs with these validation losses; an accuracy is as many hundredths as the epoch has."""
    best = min(record.best_validation.values(), default=float("inf"))
    for epoch, loss in enumerate(losses, first):
        accuracy, entropy, f1 = METRICS[kind]
        record.epoch(EpochReport(epoch, 9, {accuracy: epoch / 10, entropy: loss, f1: 0.5}, 10, 1, 0.0, 1.0))
        metrics = {accuracy: epoch / 100, entropy: loss, f1: 0.5}
        record.validated(ValidationReport(epoch, metrics, 10, loss < best))
        best = min(best, loss)


def test_the_figures_are_those_of_the_kept_model():
    kind = "binary_classifier"
    record = TrainingRecord()
    validated(record, [3.0, 1.0, 2.0, 2.5])
    stopped = page(record, model_of(30, 3, kind), settings_of(kind, early_stopping_patience=2))
    tiles = tiles_of(stopped)
    assert (tiles["train accuracy"], tiles["validation accuracy"], tiles["kept epoch"]) == ("0.1", "0.01", "1")
    assert record.as_document()["best_epoch"] == 1
    tiles = tiles_of(page(record, model_of(30, 3, kind), settings_of(kind)))
    assert (tiles["train accuracy"], tiles["validation accuracy"]) == ("0.3", "0.03")
    assert "kept epoch" not in tiles


def test_after_an_interruption_the_best_epoch_may_be_one_that_the_report_has_not_seen():
    kind = "binary_classifier"
    record = TrainingRecord()
    accuracy, entropy, _ = METRICS[kind]
    record.resumed(ResumeReport(2, 0, [(10, 1, 2)], {}, {accuracy: 0.77, entropy: 0.5}))
    validated(record, [2.0, 2.5], first=2)
    tiles = tiles_of(page(record, model_of(30, 3, kind), settings_of(kind, early_stopping_patience=2)))
    assert tiles["validation accuracy"] == "0.77"
    assert not {"train accuracy", "kept epoch"} & set(tiles)
    validated(record, [0.25], first=4)
    tiles = tiles_of(page(record, model_of(30, 3, kind), settings_of(kind, early_stopping_patience=2)))
    assert (tiles["train accuracy"], tiles["validation accuracy"], tiles["kept epoch"]) == ("0.4", "0.04", "4")


@pytest.mark.parametrize("label", [0, 1])
def test_of_one_class_there_is_no_area_below_a_curve(label):
    record = record_of("binary_classifier", n_tested=0)
    record.sample.add(np.linspace(0, 1, 20, dtype=np.float32), np.full(20, label, np.float32))
    text = page(record, model_of(30, 3, "binary_classifier"), settings_of("binary_classifier"))
    assert f"All test rows have label {label}, so there are no curves." in text
    assert "area below it" not in text


@pytest.mark.parametrize("values", [(float("nan"),) * 3, (float("inf"), float("nan"), float("inf"))])
def test_validation_data_that_was_never_finite_is_said(values):
    found = findings(record_of(validation=values), settings_of())
    assert any("The validation mean squared error was never finite" in sentence for sentence in found)


def test_a_value_is_text_and_never_markup():
    settings = settings_of(_tuning_objective_metric="<script>alert(1)</script>")
    text = page(record_of(), model_of(30, 3), settings)
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


#: What a page tells of itself: how far it is wider than the window, how many plots have a size, texts of a plot that
#: touch each other or stick out of it, and the least height of one.
PROBE = """(() => {
  const box = element => element.getBoundingClientRect(), plots = [...document.querySelectorAll("figure svg")];
  const wrong = [], heights = [];
  for (const plot of plots) {
    const texts = [...plot.querySelectorAll("text")], around = box(plot);
    texts.forEach((text, i) => {
      const a = box(text);
      heights.push(a.height);
      if (a.left < around.left - 2 || a.right > around.right + 2) wrong.push("sticks out: " + text.textContent);
      for (const other of texts.slice(i + 1)) {
        const b = box(other);
        if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3)
          wrong.push(text.textContent + " | " + other.textContent);
      }
    });
  }
  return [document.documentElement.scrollWidth, plots.filter(plot => box(plot).height > 100).length,
    getComputedStyle(document.body).backgroundColor, wrong.join("; "), Math.min(...heights)];
})()"""


def told(record):
    """Let a record know of columns."""
    record.importances = [(f"a column with a rather long name {i}", 1.0 / (i + 1)) for i in range(20)]
    record.pairs, record.effects = [("city x day", 0.5)], [("city=oslo", 2.0), ("city=rome", -1.0)]
    record.importance_unit = "the label's unit"
    random = np.random.default_rng(0).normal(size=(60, 2))
    record.embedding = [Mapped(f"city=number {i}", "city" if i % 2 else "day", x, y) for i, (x, y) in enumerate(random)]
    return record


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is absent (on Debian: apt-get install chromium)")
@KINDS
def test_a_browser_shows_every_plot_and_nothing_overlaps_or_sticks_out(kind, tmp_path):
    record = told(record_of(kind, train=np.linspace(9, 3e5, 120), validation=np.linspace(7, 2e5, 120)))
    (tmp_path / "page.html").write_text(page(record, model_of(30, 3, kind), settings_of(kind)))
    with browser(tmp_path) as shown:
        for width in (360, 500, 1400):
            for scheme, colour in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(13, 17, 23)")):
                shown.size(width, 900, scheme)
                shown.open((tmp_path / "page.html").as_uri())
                scrolled, n_plots, background, wrong, least = shown.evaluate(PROBE)
                assert scrolled <= width
                assert n_plots == (10 if kind == "binary_classifier" else 8)
                assert background == colour
                assert wrong == ""
                assert least > 10
        assert shown.errors == []


def test_metrics_are_in_words_and_what_matters_is_by_name():
    record = told(record_of("binary_classifier"))
    record.about = "income of <adult>.csv"
    text = page(record, model_of(30, 3, "binary_classifier"), settings_of("binary_classifier"))
    plots = text.split("<main>")[1].split("</main>")[0]
    assert "binary_classification" not in plots
    for word in (
        "Cross entropy",
        "F1 score",
        "Confusion matrix",
        "Gain",
        "Precision and recall",
        "city=oslo",
        "city x day",
    ):
        assert word in plots
    assert "income of &lt;adult&gt;.csv" in text
    assert fm_core.__version__ in text
