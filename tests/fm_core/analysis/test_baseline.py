"""baseline.json: its sample, its figures against slow ones, and files of strangers."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.analysis.baseline import Baseline, OfColumn, RowSample, make_baseline, stability
from fm_core.batch import Batch
from fm_core.errors import ConfigError
from fm_core.formats.tables.schema import Column, TableSchema
from fm_core.model import Model


def numbered(first, n):
    """Rows whose one value is their number."""
    rows = np.arange(first, first + n, dtype=np.float32)
    return Batch(1, rows, np.arange(n + 1), np.zeros(n, np.int32))


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(2, 64))
def test_a_sample_is_every_nth_row_however_they_are_cut(sizes, most):
    sample, at = RowSample(most), 0
    for n in sizes:
        sample.add(numbered(at, n))
        at += n
    kept = [float(value) for part in sample.batches() for value in part.values]
    assert len(sample) == len(kept) <= most
    stride = 1
    while len(range(0, at, stride)) > most:
        stride *= 2
    assert kept == list(range(0, at, stride))


def test_a_sample_is_bounded_in_bytes_too():
    sample = RowSample(most_bytes=4000)
    for _ in range(100):
        sample.add(Batch(50, np.ones((7, 50), np.float32)))
    assert sum(part.nbytes for part in sample.batches()) <= 4000


SCHEMA = TableSchema(
    (
        Column("user", "categorical", categories=("ann", "bob"), unseen="feature", gaps=True),
        Column("age", "numeric"),
        Column("price", "binned", edges=(1.0,), low=0.5, high=9.0),
    )
)


def rows():
    """Four rows: ann 30 cheap, another 0 dear, missing 25 cheap, bob 60 dear."""
    indices = np.array([0, 4, 5, 2, 6, 3, 4, 5, 1, 4, 6], np.int32)
    values = np.array([1, 30, 1, 1, 1, 1, 25, 1, 1, 60, 1], np.float32)
    return Batch(7, values, np.array([0, 3, 5, 8, 11]), indices)


def model():
    random = np.random.default_rng(1)
    return Model("regressor", 0.5, random.standard_normal(7).astype(np.float32), np.zeros((7, 1), np.float32))


def test_shares_and_ranges_are_those_of_the_rows(tmp_path):
    made = make_baseline(model(), [rows()], [], SCHEMA)
    assert made.columns == {"user": OfColumn(0.25, 0.25), "age": OfColumn(low=0.0, high=60.0), "price": OfColumn()}
    assert (made.source, made.n_rows) == ("train", 4)
    made.save(tmp_path / "baseline.json")
    assert Baseline.load(tmp_path / "baseline.json", 7) == made


@given(st.integers(1, 3000), st.integers(0, 2**32 - 1))
def test_edges_are_tenths_of_the_scores(n, seed):
    values = np.random.default_rng(seed).integers(0, 50, n).astype(np.float32)
    batch = Batch(1, values, np.arange(n + 1), np.zeros(n, np.int32))
    made = make_baseline(Model("regressor", 0.0, np.ones(1, np.float32), np.zeros((1, 1), np.float32)), [batch])
    bounds = [-np.inf, *made.edges, np.inf]
    slow = [np.mean((values > a) & (values <= b)) for a, b in itertools.pairwise(bounds)]
    assert made.shares == pytest.approx(slow)
    assert stability(made.shares, np.array(slow) * n * 1000) == pytest.approx(0, abs=0.02)


def test_enough_validation_rows_give_the_scores():
    learned, held_out = numbered(0, 1000), numbered(5000, 600)
    linear = Model("regressor", 0.0, np.ones(1, np.float32), np.zeros((1, 1), np.float32))
    made = make_baseline(linear, [learned], [held_out])
    assert (made.source, made.n_rows) == ("validation", 600)
    assert made.edges[0] >= 5000
    assert make_baseline(linear, [learned], [held_out.slice(0, 20)]).source == "train"
    assert make_baseline(linear, [], []) is None


def test_the_stability_index_is_its_formula():
    shares, counts = [0.5, 0.3, 0.2], np.array([200, 300, 500])
    now = (counts + 0.5) / 1001.5
    expected = sum((p - q) * np.log(p / q) for p, q in zip(now, shares, strict=True))
    assert stability(shares, counts) == pytest.approx(expected)
    assert stability(shares, np.array([5000, 3000, 2000])) < 1e-6
    assert np.isfinite(stability([1.0, 0.0], np.array([0, 10])))


def document():
    return {
        "version": 1, "feature_dim": 7, "source": "train", "rows": 4,
        "scores": {"edges": [0.5, 1], "shares": [0.25, 0.25, 0.5]},
        "columns": {"age": {"missing": 0.0, "unseen": 0.5, "low": 1, "high": 2}},
    }  # fmt: skip


SPOILT = [
    (lambda d: d.update(version=2), "version is 2"),
    (lambda d: d.update(version=True), "version is True"),
    (lambda d: d.update(feature_dim=8), "feature_dim is 8, expected the model.s 7"),
    (lambda d: d.update(rows=0), "rows is 0"),
    (lambda d: d.update(source="test"), "source is 'test'"),
    (lambda d: d.update(scores=[]), "scores is"),
    (lambda d: d["scores"].update(edges=[1, 1]), "do not increase"),
    (lambda d: d["scores"].update(edges=[True, 2]), "edges is"),
    (lambda d: d["scores"].update(edges=list(range(101)), shares=[0.0] * 102), "edges is"),
    (lambda d: d["scores"].update(shares=[0.5, 0.5]), "3 numbers"),
    (lambda d: d["scores"].update(shares=[2, 0, 0]), "3 numbers"),
    (lambda d: d.update(columns=7), "columns is 7"),
    (lambda d: d["columns"].update({str(i): {} for i in range(256)}), "at most 256"),
    (lambda d: d["columns"].update({"x" * 1025: d["columns"]["age"]}), "at most 1024"),
    (lambda d: d["columns"]["age"].pop("low"), "expected high, low, missing, unseen"),
    (lambda d: d["columns"]["age"].update(unseen=1.5), "unseen is 1.5"),
    (lambda d: d["columns"]["age"].update(low=3), "expected a range"),
    (lambda d: d["columns"]["age"].update(high=None), "expected a range"),
]


@pytest.mark.parametrize(("spoil", "sentence"), SPOILT)
def test_a_file_that_is_no_baseline_is_refused_in_one_sentence(tmp_path, spoil, sentence):
    path, spoilt = tmp_path / "baseline.json", document()
    path.write_text(json.dumps(spoilt))
    Baseline.load(path, 7)
    spoil(spoilt)
    path.write_text(json.dumps(spoilt))
    with pytest.raises(ConfigError, match=sentence) as caught:
        Baseline.load(path, 7)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b" " * 2**20 + b"{}"])
def test_bytes_that_are_no_baseline_are_refused(tmp_path, data):
    (tmp_path / "baseline.json").write_bytes(data)
    with pytest.raises(ConfigError, match="not a baseline"):
        Baseline.load(tmp_path / "baseline.json", 7)
