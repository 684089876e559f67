"""Rows by the names of their columns, asked of a real server: from somebody's table to its answers."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from fm_core.artifact.model_file import load_model, save_model
from fm_core.formats.tables.frames import encode_table
from fm_core.formats.tables.schema import TableSchema
from fm_core.model import Model
from tests.conftest import ROOT
from tests.contract.serving import detail, refused_start, serving
from tests.contract.training import Job

RATINGS = "user,movie,genres,year,rating\n" + "".join(
    f"u{i % 7},m{i * 3 % 11},{'crime|drama' if i % 2 else 'scifi'},{i % 5},{i % 5 + 1}\n" for i in range(300)
)
NEW = [
    {"user": "u3", "movie": "m4", "genres": "crime|drama", "year": 1},
    {"user": "u1", "movie": "m10", "genres": "scifi", "year": 4},
]


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A job whose channel is the folder that `fm convert` wrote to."""
    job = Job(tmp_path_factory.mktemp("job"))
    table = job.root / "ratings.csv"
    table.write_text(RATINGS)
    folder = job.root / "input/data/train"
    folder.mkdir()
    command = ["convert", table, folder / "x.recordio", "--label", "rating", "--several", "genres:|", "--threshold", 4]
    done = subprocess.run(
        [sys.executable, "-m", "fm_core.cli", *map(str, command)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "feature_dim is 22" in done.stdout
    job.hyperparameters |= {"feature_dim": "22", "linear_lr": "0.05"}
    finished = job.run()
    assert finished.code == 0, finished.log
    assert "schema.json was copied next to the model" in finished.log
    assert sorted(finished.model) == ["model_algo-1", "schema.json"]
    assert json.loads((job.root / "model/baseline.json").read_text())["columns"].keys() == set(NEW[0])
    return job


@pytest.fixture(scope="module")
def server(job, tmp_path_factory):
    with serving(job.root, tmp_path_factory.mktemp("log")) as server:
        yield server


@pytest.fixture(scope="module")
def expected(job):
    """The scores of NEW, by the way that does without a server."""
    pandas = pytest.importorskip("pandas")
    schema = TableSchema.load(job.root / "model/schema.json")
    rows, _ = encode_table(pandas.DataFrame(NEW), schema)
    from fm_core.batch import Batch

    batch = Batch(schema.feature_dim, rows.data, rows.indptr.astype(np.int64), rows.indices.astype(np.int32))
    return load_model(job.root / "model").predict(batch).tolist()


def scores(answer, path=("predictions",)):
    status, _, body = answer
    assert status == 200, body
    return [prediction["score"] for prediction in json.loads(body)["predictions"]]


def csv(rows, names, header=True):
    lines = [",".join(str(row[name]) for name in names) for row in rows]
    return "\n".join([",".join(names)] * header + lines).encode()


ORDERED = ["user", "movie", "genres", "year"]
BODIES = {
    "json": ({"instances": [{"columns": row} for row in NEW]}, "application/json"),
    "a list of ids": (
        {"instances": [{"columns": row | {"genres": row["genres"].split("|"), "extra": [1]}} for row in NEW]},
        "application/json",
    ),
    "jsonlines": (b"\n".join(json.dumps({"columns": row}).encode() for row in NEW), "application/jsonlines"),
    "csv with a header": (csv([row | {"no": 1} for row in NEW], ["year", "no", *ORDERED[:3]]), "text/csv"),
    "csv with a header that is said": (csv(NEW, ORDERED), "Text/CSV; charset=utf-8; header=present"),
    "csv without": (csv(NEW, ORDERED, header=False), "text/csv"),
    "csv without, said": (csv(NEW, ORDERED, header=False), "text/csv; header=absent"),
    "csv, quoted": (csv(NEW, ORDERED).replace(b"u3", b'"u3"'), "text/csv"),
}


@pytest.mark.parametrize("name", BODIES)
def test_columns_score_as_the_same_rows_without_a_server(server, expected, name):
    body, content_type = BODIES[name]
    assert scores(server.invoke(body, content_type)) == pytest.approx(expected, rel=1e-6)


def test_feature_ids_are_understood_as_before(server):
    assert len(scores(server.invoke({"instances": [{"keys": [3], "values": [1]}, {"features": [0] * 22}]}))) == 2
    assert len(scores(server.invoke(b",".join([b"0"] * 22), "text/csv"))) == 1
    assert len(scores(server.invoke(b"3:1", "text/libsvm"))) == 1


REFUSED = {
    "a category never seen": (
        {"columns": NEW[0] | {"user": "zed"}},
        (
            "instance 0, column 'user': 'zed' was not seen when the schema was made, expected one of its 7 categories "
            "(the setting FM_UNSEEN=ignore leaves such an id out)"
        ),
    ),
    "a column that is missing": (
        {"columns": {name: NEW[0][name] for name in ORDERED[:3]}},
        "instance 0, column 'year': the column is missing, expected it, or null if it is empty",
    ),
    "a text for a number": (
        {"columns": NEW[0] | {"year": "the eighties"}},
        "instance 0, column 'year': found 'the eighties', expected",
    ),
    "no number": ({"columns": NEW[0] | {"year": None}}, "instance 0, column 'year': the cell is empty"),
    "too large a number": ({"columns": NEW[0] | {"year": 1e39}}, "instance 0, column 'year': found 1e+39, expected"),
    "a list where there is one id": (
        {"columns": NEW[0] | {"user": ["u1"]}},
        "instance 0, column 'user': found ['u1'], expected a text, a number, true, false or null",
    ),
    "no object": ({"columns": [1]}, 'instance 0 has no object "columns"'),
}


@pytest.mark.parametrize("name", REFUSED)
def test_cells_that_do_not_fit_are_refused_by_name(server, name):
    instance, said = REFUSED[name]
    answer = server.invoke({"instances": [instance]})
    assert (answer[0], detail(answer)[: len(said)]) == (400, said)


def test_instances_are_all_of_one_kind(server):
    answer = server.invoke({"instances": [{"columns": NEW[0]}, {"keys": [1], "values": [1]}]})
    assert (answer[0], detail(answer)[:35]) == (400, 'instance 1 has no object "columns",')


@pytest.mark.parametrize(
    ("body", "content_type", "status", "said"),
    [
        ("user,movie,genres\nu1,m1,scifi", "text/csv", 400, "the first line names column 'user' but not 'year'"),
        (
            "user,movie,genres\nu1,m1,scifi",
            "text/csv; header=present",
            400,
            "there is no column 'year', expected one of",
        ),
        ("u1,m1", "text/csv", 400, "line 1 has 2 cells, expected 4, one for each column of the schema: user, movie"),
        ("user,movie,genres,year\nu1,m1,scifi,then", "text/csv", 400, "line 2, column 'year': found 'then', expected"),
        ("user,movie,genres,year\nu1,m1,scifi", "text/csv", 400, "the body: line 2: found 3 columns, expected 4"),
        ("user,user,movie,genres,year\n", "text/csv", 400, "line 1: two columns are named 'user'"),
        ("u1,m1,scifi,1980\n\xff,m1,scifi,1980".encode("latin-1"), "text/csv", 400, "line 2, column 'user': byte 0 of"),
        ("u1,m1,scifi,1980", "text/csv; header=perhaps", 415, "Content-Type is 'text/csv; header=perhaps', expected"),
        ("\n\n", "text/csv", 400, "the body holds no line"),
    ],
)
def test_csv_that_does_not_fit_is_refused_by_line_and_column(server, body, content_type, status, said):
    answer = server.invoke(body if isinstance(body, bytes) else body.encode(), content_type)
    assert (answer[0], detail(answer)[: len(said)]) == (status, said)


def test_a_header_of_another_order_is_refused_where_later_pieces_have_none(job, expected, tmp_path):
    another = [["year", *ORDERED[:3]], [*ORDERED, "no"], ["no", *ORDERED]]
    with serving(job.root, tmp_path, SAGEMAKER_BATCH="true", SAGEMAKER_MODEL_SERVER_WORKERS=1) as server:
        for names in another:
            body = csv([row | {"no": 1} for row in NEW], names)
            answer = server.invoke(body, "text/csv")
            assert (answer[0], detail(answer)[:37]) == (400, "line 1 is a header with other columns")
            assert scores(server.invoke(body, "text/csv; header=present")) == pytest.approx(expected, rel=1e-6)
        for body in (csv(NEW, ORDERED), csv(NEW, ORDERED, header=False)):
            assert scores(server.invoke(body, "text/csv")) == pytest.approx(expected, rel=1e-6)


def test_a_ranking_names_the_columns_of_each_side(server, expected):
    context = {name: NEW[0][name] for name in ("user", "year")}
    candidates = [{"movie": movie, "genres": NEW[0]["genres"]} for movie in ("m4", "m0")]
    instance = {"context": {"columns": context}, "candidates": [{"columns": columns} for columns in candidates]}
    status, _, body = server.invoke({"instances": [instance]})
    assert status == 200, body
    (ranked,) = json.loads(body)["predictions"]
    found = {candidate["index"]: candidate["score"] for candidate in ranked["candidates"]}
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    instance["candidates"][1]["columns"]["film"] = "m4"
    answer = server.invoke({"instances": [instance]})
    assert answer[0] == 400
    said = "instance 0, candidate 1: column 'film' is not in the schema, expected some of: user, "
    assert detail(answer).startswith(said)


def test_an_explanation_has_names(server):
    status, _, body = server.invoke({"instances": [{"columns": NEW[0], "configuration": {"explain": 20}}]})
    assert status == 200, body
    why = json.loads(body)["predictions"][0]["explanation"]
    assert {share["name"] for share in why["features"]} == {
        *("user=u3", "movie=m4", "genres=crime", "genres=drama", "year"),
    }
    assert all(len(share["names"]) == 2 for share in why["pairs"])


def test_categories_never_seen_may_be_no_features(job, expected, tmp_path):
    with serving(job.root, tmp_path, FM_UNSEEN="ignore", SAGEMAKER_MODEL_SERVER_WORKERS=1) as server:
        found = scores(server.invoke({"instances": [{"columns": NEW[0]}, {"columns": NEW[0] | {"user": "zed"}}]}))
    assert found[0] == pytest.approx(expected[0], rel=1e-6)
    assert found[1] != found[0]


# --- starts that are refused -----------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    """A model of four features without a schema."""
    (tmp_path / "model").mkdir()
    random = np.random.default_rng(0)
    model = Model("regressor", 0.0, random.normal(size=4).astype(np.float32), random.normal(size=(4, 2)).astype("f4"))
    save_model(tmp_path / "model/model_algo-1", model, {})
    return tmp_path


def schema(n_features):
    columns = [
        {"name": "a", "kind": "categorical", "first_feature": 0, "categories": [str(i) for i in range(n_features)]}
    ]
    return json.dumps(
        {"version": 1, "feature_dim": n_features, "label": None, "dense": False, "missing": "error", "columns": columns}
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (schema(5), "its columns make 5 features, expected the model's 4"),
        ("{}", "is not a schema of `fm convert`"),
        ("\udcff", "it is not UTF-8 text"),
    ],
)
def test_a_schema_that_is_not_the_models_ends_the_start(tree, text, said):
    (tree / "model/schema.json").write_bytes(text.encode(errors="surrogateescape"))
    status, log = refused_start(tree)
    assert status == 1
    assert said in log
    assert "Traceback" not in log


def test_a_schema_outside_of_the_models_folder_is_not_read(tree):
    (tree / "secret.json").write_text(schema(4))
    (tree / "model/schema.json").symlink_to(tree / "secret.json")
    status, log = refused_start(tree)
    assert (status, "points outside the model's folder" in log) == (1, True), log
    (tree / "model/schema.json").unlink()
    for name in ("../secret.json", str(tree / "secret.json")):
        status, log = refused_start(tree, FM_SCHEMA=name)
        assert (status, "points outside the model's folder" in log) == (1, True), log
    status, log = refused_start(tree, FM_SCHEMA="other.json")
    assert (status, "other.json: No such file or directory, expected a schema" in log) == (1, True), log
    assert "environment variable FM_SCHEMA is 'other.json': " in log


def test_a_schema_that_is_too_large_is_not_read(tree):
    with (tree / "model/schema.json").open("wb") as file:
        file.truncate(2**28 + 1)
    status, log = refused_start(tree)
    assert (status, "has 268435457 bytes, expected at most 268435456" in log) == (1, True), log


def test_without_a_schema_columns_are_refused_with_the_way_out(tree, tmp_path):
    with serving(tree, tmp_path, SAGEMAKER_MODEL_SERVER_WORKERS=1) as server:
        answer = server.invoke({"instances": [{"columns": {"a": "1"}}]})
    assert answer[0] == 400
    assert detail(answer).startswith('instance 0 has "columns", but the model has no schema: put the schema.json')


def test_a_schema_of_a_multi_model_endpoint_is_its_models_own(tree, tmp_path):
    (tree / "models").mkdir()
    for name, n_features in (("good", 4), ("bad", 3)):
        (tree / "models" / name).mkdir()
        (tree / "models" / name / "model_algo-1").write_bytes((tree / "model/model_algo-1").read_bytes())
        (tree / "models" / name / "schema.json").write_text(schema(n_features))
    with serving(tree, tmp_path, SAGEMAKER_MULTI_MODEL="true") as server:
        answers = [
            server.invoke({"model_name": name, "url": str(tree / "models" / name)}, path="/models")
            for name in ("good", "bad")
        ]
        assert [status for status, _, _ in answers] == [200, 500]
        assert b"its columns make 3 features, expected the model's 4" in answers[1][2]
        answer = server.invoke({"instances": [{"columns": {"a": 3}}]}, path="/models/good/invoke")
    model = load_model(tree / "model")
    assert scores(answer)[0] == pytest.approx(float(model.w[3]), rel=1e-6)


# --- training --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"), [(schema(3), "has 3 features, expected feature_dim=22"), ("{", "is not a schema")]
)
def test_a_schema_of_other_data_does_not_go_with_the_model(job, tmp_path, text, said):
    other = Job(tmp_path)
    other.hyperparameters = job.hyperparameters
    other.put("x.recordio", (job.root / "input/data/train/x.recordio").read_bytes())
    other.put("schema.json", text.encode())
    done = other.run_here()
    assert done.succeeded, done.log
    assert "schema.json was not copied: " in done.log
    assert said in done.log
