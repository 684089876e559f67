"""Columns of any names in /metrics: harmless labels, and no two series alike, of which Prometheus takes none."""

import numpy as np
import prometheus_client.core
import prometheus_client.parser
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from container.serving.drift import Drift
from container.serving.served_model import ServedModel
from fm_core.analysis.baseline import Baseline, OfColumn
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.schema import Column, TableSchema
from fm_core.model import Model
from tests.fm_core.test_printable import ATTACKS, is_harmless

NAMES = {
    "long names that begin alike": [f"{'x' * 1000}{i}" for i in range(20)],
    "attacks": ATTACKS[:-1],
    "what is the same when it is shown": ["a\n", "a\\n", "a\r", "a\\r", "b", "b (4)"],
}
EDGES = {
    "tenths": (0.1, 0.2, 0.5),
    "scores that are all but equal": tuple(float(np.float32(0.5) + i * np.float32(1e-7)) for i in range(9)),
    "large": (1e300, 1.0000001e300),
}


@pytest.mark.parametrize("edges", EDGES.values(), ids=EDGES)
@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_every_series_is_there_once_and_harmless(names, edges):
    schema = TableSchema(tuple(Column(name, "numeric") for name in names))
    model = Model("regressor", 0.0, np.zeros(len(names), np.float32), np.zeros((len(names), 1), np.float32))
    shares = (1 / (len(edges) + 1),) * (len(edges) + 1)
    baseline = Baseline(len(names), "train", 10, edges, shares, {name: OfColumn() for name in reversed(names)})
    drift = Drift(ServedModel(model, Encoder(schema, labels="none"), None, baseline), 1, 60.0)

    class Collector:
        def collect(self):
            return drift.families(prometheus_client.core)

    registry = CollectorRegistry()
    registry.register(Collector())
    text = generate_latest(registry).decode()
    assert all(map(is_harmless, text.split("\n")))
    series = [(sample.name, *sorted(sample.labels.items()))
              for family in prometheus_client.parser.text_string_to_metric_families(text)
              for sample in family.samples]  # fmt: skip
    assert len(series) == len(set(series))
    values = {labels[0][1] for name, *labels in series if name == "fm_column_values_total"}
    missing = {labels[0][1] for name, *labels in series if name == "fm_baseline_missing_share"}
    assert values == missing
    assert len(values) == len(names)
