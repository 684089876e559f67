"""Schemas and models that do not belong together: refused when they are opened, and harmless if they were not.

`make test-asan` runs this under the address sanitizer: whatever a pair is asked, nothing is read beside its arrays.
"""

import json

import pytest

from container.serving.app import create_app
from container.serving.served_model import ServedModel, open_with_schema
from container.serving.settings import ServingSettings
from fm_core.artifact.model_file import save_model
from fm_core.errors import ArtifactError
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.schema import Column, TableSchema
from tests.container.serving.conftest import make_model


def empty(n):
    """Columns without a feature."""
    return [Column(f"c{i}", "categorical") for i in range(n)]


def forced(*columns):
    """A schema of dense rows that its constructor would refuse."""
    schema = TableSchema(columns)
    object.__setattr__(schema, "is_dense", True)
    return schema


def write_forced(path, schema):
    """Write what a stranger may: the schema's own `to_json` refuses what is not read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fm_core.formats.tables.schema.check_readable", lambda *given: None)
        path.write_text(schema.to_json())


#: Schemas that no file may hold, or that are of another width than the model beside them.
SCHEMAS = {
    "dense, with categories": forced(Column("a", "numeric"), *empty(3)),
    "dense, with very many": forced(Column("a", "numeric"), *empty(500)),
    "dense, and hashed": forced(Column("a", "hashed", buckets=5)),
    "dense and wide": TableSchema(tuple(Column(f"n{i}", "numeric") for i in range(70)), is_dense=True),
    "hashed to more": TableSchema((Column("a", "hashed", buckets=10**6),)),
    "hashed beyond int32": TableSchema((Column("a", "hashed", buckets=2**33), Column("b", "hashed", buckets=7))),
    "more categories": TableSchema((Column("a", "categorical", tuple("0123456789")), Column("b", "numeric"))),
    "one feature": TableSchema((Column("a", "numeric"),), is_dense=True),
}
DIMS = (1, 5, 64)


def requests_of(schema):
    names = [column.name for column in schema.columns]
    row = dict.fromkeys(names, 1)
    for value in (0, 1, "9", None):
        yield json.dumps({"instances": [{"columns": row | {names[0]: value}}] * 3}), "application/json"
    ranking = {"context": {"columns": row}, "candidates": [{"columns": {names[0]: "7"}}, {"columns": row}]}
    yield json.dumps({"instances": [ranking]}), "application/json"
    yield json.dumps({"instances": [{"columns": row, "explain": True}]}), "application/json"
    cells = ",".join("1" for _ in names)
    yield f"{','.join(names)}\n{cells}\n{cells}\n", "text/csv"
    yield f"{cells}\n{cells}\n", "text/csv; header=absent"
    yield "1 0:1 4:1\n1 63:1", "text/libsvm"
    yield json.dumps({"instances": [{"features": [1] * len(names)}]}), "application/json"
    yield json.dumps({"instances": [{"keys": [0, 4, 2**31 - 1], "values": [1, 1, 1]}]}), "application/json"


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("name", SCHEMAS)
def test_no_request_reads_beside_the_model(name, dim):
    schema, model = SCHEMAS[name], make_model(feature_dim=dim)
    served = ServedModel(model, Encoder(schema, unseen="ignore", labels="none"))
    client = create_app(served, ServingSettings()).test_client()
    for body, content_type in requests_of(schema):
        answer = client.post("/invocations", data=body, content_type=content_type)
        assert answer.status_code in (200, 400)
        if answer.status_code == 200 and "columns" in body:
            assert schema.feature_dim == dim, f"{body[:200]} was scored by a model of {dim} features"


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_model_with_such_a_schema_is_not_opened(name, tmp_path):
    schema = SCHEMAS[name]
    dim = schema.feature_dim if name.startswith("dense, ") else 3  # the others are of another width
    save_model(tmp_path / "model_algo-1", make_model(feature_dim=dim), {})
    write_forced(tmp_path / "schema.json", schema)
    with pytest.raises(ArtifactError, match="schema"):
        open_with_schema(None, "error")(tmp_path)


def test_the_pair_that_crashed_a_worker(tmp_path):
    """One numeric column, 3,000 without a category, said to be dense: rows 3,000 wide for a model of one feature."""
    schema = forced(Column("a", "numeric"), *empty(3_000))
    assert schema.feature_dim == 1
    save_model(tmp_path / "model_algo-1", make_model(feature_dim=1), {})
    write_forced(tmp_path / "schema.json", schema)
    with pytest.raises(ArtifactError, match="dense is true, and column 'c0' is categorical, expected numeric"):
        open_with_schema(None, "error")(tmp_path)
    served = ServedModel(make_model(feature_dim=1), Encoder(schema, unseen="ignore", labels="none"))
    body = "0" + ",0" * 3_000
    client = create_app(served, ServingSettings()).test_client()
    answer = client.post("/invocations", data=body, content_type="text/csv; header=absent")
    assert answer.status_code == 400
