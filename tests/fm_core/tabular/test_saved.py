"""What lies beside a model in its ``.tar.gz`` is read as the model is: within bounds, whatever the archive says."""

import gzip
import json
import tracemalloc

import numpy as np
import pytest

from fm_core.errors import ArtifactError, ConfigError
from fm_core.formats.tables.schema import Column, TableSchema
from fm_core.model import Model
from fm_core.tabular.saved import metrics_beside, schema_beside, write_model
from tests import artifacts
from tests.fm_core.artifact.test_hostile_archives import END, LARGE, ZIP, header, zipped_zeros

SCHEMA = TableSchema((Column("a", "categorical", ("x", "y")), Column("b", "numeric")), label="y")


@pytest.mark.parametrize("name", ["model", "model.tar.gz"])
def test_what_is_written_is_found_again(tmp_path, name):
    model = Model("regressor", 0.0, np.zeros(3, np.float32), np.zeros((3, 1), np.float32))
    write_model(tmp_path / name, model, {}, SCHEMA, {"label_mean": 2.5})
    assert schema_beside(tmp_path / name, 3) == SCHEMA
    assert metrics_beside(tmp_path / name) == {"label_mean": 2.5}
    with pytest.raises(ConfigError, match=r"schema\.json: its columns make 3 features, expected the model's 4"):
        schema_beside(tmp_path / name, 4)


MEMBER = header(len(ZIP), name="model_algo-1") + ZIP.ljust(-(-len(ZIP) // 512) * 512, b"\0")
BEHIND = {
    "a long name of many zeros": zipped_zeros(MEMBER, header(LARGE, b"L"), LARGE, END),
    "a long link of many zeros": zipped_zeros(MEMBER, header(LARGE, b"K"), LARGE, END),
    "a pax header of many zeros": zipped_zeros(MEMBER, header(LARGE, b"x"), LARGE, END),
    "a schema of many zeros": zipped_zeros(MEMBER, header(LARGE, name="schema.json"), LARGE, END),
    "a schema of 2^62 bytes": gzip.compress(MEMBER + header(1 << 62, name="schema.json") + END),
    "a member of 2^62 bytes": gzip.compress(MEMBER + header(1 << 62) + END),
    "very many members": gzip.compress(MEMBER + header(0) * 10_001 + END),
    "a wrong checksum": gzip.compress(MEMBER + header(0)[:150] + b"1" + header(0)[151:] + END),
    "cut short": gzip.compress(MEMBER + END)[:-20],
}


@pytest.mark.parametrize("name", BEHIND)
def test_what_lies_behind_the_model_in_a_tar_is_bounded(tmp_path, name):
    (tmp_path / "model.tar.gz").write_bytes(BEHIND[name])
    tracemalloc.start()
    try:
        with pytest.raises((ArtifactError, ConfigError)) as caught:
            schema_beside(tmp_path / "model.tar.gz", 4)
        assert metrics_beside(tmp_path / "model.tar.gz") == {}
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(str(tmp_path))


@pytest.mark.parametrize(
    "text", ["[" * 200_000, "[1]", "{", '{"label_mean": ' + "9" * 5000 + "}", "\ud800".encode("utf-8", "surrogatepass")]
)
def test_metrics_that_are_none_are_none(tmp_path, text):
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "model_algo-1").write_bytes(ZIP)
    (tmp_path / "metrics.json").write_bytes(content)
    assert metrics_beside(tmp_path) == {}
    tar = artifacts.tarred({"model_algo-1": ZIP, "metrics.json": content})
    (tmp_path / "model.tar.gz").write_bytes(gzip.compress(tar) if not tar.startswith(b"\x1f") else tar)
    assert metrics_beside(tmp_path / "model.tar.gz") == {}
    assert json.dumps(metrics_beside(tmp_path)) == "{}"
