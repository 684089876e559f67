"""fm inspect, embeddings, predict and explain, as processes."""

import gzip
import json
import os
import pty
import subprocess
import sys
import termios

import numpy as np
import pytest
import scipy.sparse

from fm_core.artifact.model_file import save_model
from fm_core.artifact.spread_file import save_spread
from fm_core.batch import Batch
from fm_core.formats import write_records
from fm_core.model import Model
from tests.fm_core.strategies import model_of
from tests.fm_core.test_spread import make_spread

FM = [sys.executable, "-c", "import sys; from fm_core.cli import main; sys.exit(main())"]
KINDS = ["regressor", "binary_classifier"]


def fm(*arguments, status=0):
    done = subprocess.run([*FM, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


@pytest.fixture(params=KINDS)
def model(request):
    found = model_of(20, 3, request.param)
    found.w0 = float(np.float32(found.w0))  # as a file keeps it
    return found


@pytest.fixture
def path(model, tmp_path):
    save_model(tmp_path / "model_algo-1", model, {"epochs": "7", "linear_lr": "0.001"})
    return tmp_path / "model_algo-1"


@pytest.fixture
def rows():
    return scipy.sparse.random_array((25, 20), density=0.3, format="csr", rng=np.random.default_rng(1)).astype(
        np.float32
    )


@pytest.fixture
def records(rows, tmp_path):
    with (tmp_path / "rows.pbr").open("wb") as file:
        write_records(file, rows, np.arange(25) % 2)
    return tmp_path / "rows.pbr"


@pytest.fixture
def names(tmp_path):
    (tmp_path / "names.txt").write_text("".join(f"name of {i}\n" for i in range(20)))
    return tmp_path / "names.txt"


# --- inspect -------------------------------------------------------------------------------


def test_inspect_tells_sizes_hyperparameters_and_features_by_name(model, path, names):
    text = fm("inspect", path, "--names", names, "--top", 2)
    assert f"{model.predictor_type}, 20 features, 3 factors" in text
    assert "81 parameters, 324 bytes" in text
    assert "epochs                   7" in text
    assert "linear_lr" not in text  # its default
    assert text.count("name of") == 4
    assert f"name of {np.argmax(np.abs(model.w))}\n" in text
    assert f"name of {np.argmax((model.V**2).sum(axis=1))}\n" in text


def test_inspect_in_json_has_the_numbers_themselves(model, path):
    facts = json.loads(fm("inspect", path.parent, "--json"))
    assert facts["w0"] == model.w0
    assert facts["v_norm"] == pytest.approx(np.linalg.norm(model.V))
    assert facts["w_norm"] == pytest.approx(np.linalg.norm(model.w))
    assert facts["v_norm_quantiles"][2] == pytest.approx(np.median(np.linalg.norm(model.V, axis=1)))
    assert facts["w_range"] == [model.w.min(), model.w.max()]
    assert facts["hyperparameters"]["epochs"] == "7"
    assert [f["feature"] for f in facts["largest_weights"]] == np.argsort(-np.abs(model.w))[:10].tolist()


def test_inspect_counts_features_without_parameters(tmp_path):
    w, V = np.zeros(9, np.float32), np.zeros((9, 2), np.float32)
    w[3] = V[4, 1] = 1
    save_model(tmp_path / "model", Model("regressor", 0.0, w, V), {})
    assert "parameters are 0: 7" in fm("inspect", tmp_path / "model")


def test_names_for_another_number_of_features_are_refused(path, tmp_path):
    (tmp_path / "few").write_text("a\nb\n")
    assert "few names 2 features, expected the model's feature_dim=20" in fm(
        "inspect", path, "--names", tmp_path / "few", status=1
    )


def test_a_schema_of_other_data_beside_a_model_names_nothing_and_encodes_nothing(path, records, tmp_path):
    (tmp_path / "t.csv").write_text("user,label\nann,1\nbob,0\n")
    fm("convert", tmp_path / "t.csv", tmp_path / "t.recordio", "--label", "label")
    done = subprocess.run([*FM, "inspect", path, "--top", "1"], capture_output=True, text=True, check=True)
    assert "expected the model's 20" in done.stderr
    assert "features are shown by their ids" in done.stderr
    assert "expected the model's feature_dim=20" in fm("inspect", path, "--schema", tmp_path / "schema.json", status=1)
    assert "expected the model's 20" in fm("predict", path, tmp_path / "t.csv", status=1)


@pytest.mark.parametrize("command", ["inspect", "embeddings", "predict", "explain"])
def test_what_is_no_model_is_said_in_a_line(command, tmp_path):
    (tmp_path / "text").write_text("no model")
    more = {"embeddings": ["e.npy"], "predict": ["r.pbr"], "explain": ["r.pbr"]}.get(command, [])
    for path in (tmp_path / "text", tmp_path / "absent"):
        error = fm(command, path, *more, status=1)
        assert error.startswith(f"fm {command}: ")
        assert error.count("\n") == 1


# --- embeddings ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("items", lambda m: np.column_stack([m.V, m.w])),
        ("users", lambda m: np.column_stack([m.V, np.ones(20)])),
        ("factors", lambda m: m.V),
    ],
)
def test_embeddings_are_the_same_in_every_format(kind, expected, model, path, names, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    expected = expected(model).astype(np.float32)[5:15]
    for suffix in ("npy", "tsv", "parquet"):
        fm("embeddings", path, tmp_path / f"e.{suffix}", "--as", kind, "--features", "5:15", "--names", names)
    np.testing.assert_array_equal(np.load(tmp_path / "e.npy"), expected)
    np.testing.assert_array_equal(np.loadtxt(tmp_path / "e.tsv", np.float32, delimiter="\t"), expected)
    lines = (tmp_path / "e.metadata.tsv").read_text().splitlines()
    assert lines == ["feature\tname", *(f"{i}\tname of {i}" for i in range(5, 15))]
    table = parquet.read_table(tmp_path / "e.parquet")
    np.testing.assert_array_equal(np.stack(table["vector"].to_numpy()), expected)
    assert table["feature"].to_pylist() == list(range(5, 15))
    assert table["name"].to_pylist()[0] == "name of 5"


def test_inner_products_of_users_and_items_are_in_the_order_of_scores(model, path, tmp_path):
    fm("embeddings", path, tmp_path / "users.npy", "--as", "users", "--features", ":8")
    fm("embeddings", path, tmp_path / "items.npy", "--as", "items", "--features", "8:")
    products = np.load(tmp_path / "users.npy") @ np.load(tmp_path / "items.npy").T
    for user in range(8):
        pairs = np.zeros((12, 20), np.float32)
        pairs[:, user] = 1
        pairs[np.arange(12), 8 + np.arange(12)] = 1
        scores = model.predict(Batch.from_dense(pairs))
        assert np.argsort(-products[user]).tolist() == np.argsort(-scores).tolist()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["e.csv"], "e.csv ends in '.csv', expected one of .npy, .tsv, .parquet"),
        (["e.npy", "--features", "5:21"], "features are 5:21, expected a range within 0:20"),
        (["e.npy", "--features", "5:5"], "features are 5:5"),
    ],
)
def test_embeddings_that_cannot_be_written_are_refused_and_nothing_is_left(arguments, sentence, path, tmp_path):
    before = set(tmp_path.iterdir())
    assert sentence in fm("embeddings", path, tmp_path / arguments[0], *arguments[1:], status=1)
    assert set(tmp_path.iterdir()) == before


def test_a_part_that_is_none_is_a_usage_error(path):
    assert "'5-7' is no part such as 943:2625" in fm("embeddings", path, "e.npy", "--features", "5-7", status=2)


# --- predict -------------------------------------------------------------------------------


def test_predict_gives_the_models_scores_in_each_format(model, path, rows, records, tmp_path):
    scores = model.predict(Batch.from_csr(rows))
    lines = fm("predict", path, records).splitlines()
    np.testing.assert_array_equal(np.array(lines, np.float32), scores)
    for suffix in ("npy", "jsonl", "txt"):
        assert fm("predict", path, records, "--output", tmp_path / f"s.{suffix}") == ""
    np.testing.assert_array_equal(np.load(tmp_path / "s.npy"), scores)
    assert (tmp_path / "s.txt").read_text().splitlines() == lines
    objects = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert [np.float32(o["score"]) for o in objects] == scores.tolist()
    if model.is_classifier:
        assert [o["predicted_label"] for o in objects] == (scores >= 0.5).tolist()
    else:
        assert set(objects[0]) == {"score"}


@pytest.mark.parametrize("model", ["regressor"], indirect=True)
def test_predict_writes_standard_deviations_where_the_model_has_them(model, path, rows, records, tmp_path):
    assert "the model has no spread: train it with solver bayes" in fm("predict", path, records, "--spread", status=1)
    model.spread = make_spread(is_classifier=model.is_classifier, feature_dim=20)
    save_spread(tmp_path, model)
    scores, std = model.predict(Batch.from_csr(rows), return_std=True)
    found = np.array([line.split() for line in fm("predict", path, records, "--spread").splitlines()], np.float32)
    np.testing.assert_array_equal(found, np.column_stack([scores, std]))
    for suffix in ("jsonl", "npy", "csv"):
        fm("predict", path, records, "--spread", "--output", tmp_path / f"s.{suffix}")
    np.testing.assert_array_equal(np.load(tmp_path / "s.npy"), found)
    objects = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    np.testing.assert_array_equal(np.float32([o["std"] for o in objects]), std)
    header, *lines = (tmp_path / "s.csv").read_text().splitlines()
    assert header == "score,std"
    np.testing.assert_array_equal(np.array([line.split(",") for line in lines], np.float32), found)


def test_predict_reads_gzip_and_says_how_good_scores_are(model, path, rows, records, tmp_path):
    (tmp_path / "rows.pbr.gz").write_bytes(gzip.compress(records.read_bytes()))
    done = subprocess.run(
        [*FM, "predict", path, tmp_path / "rows.pbr.gz", "--metrics"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == 25
    metrics = dict(line.split() for line in done.stderr.splitlines())
    scores, labels = model.predict(Batch.from_csr(rows)), np.arange(25) % 2
    if model.is_classifier:
        assert float(metrics["binary_classification_accuracy"]) == pytest.approx(((scores >= 0.5) == labels).mean())
    else:
        assert float(metrics["mse"]) == pytest.approx(((scores - labels) ** 2).mean(), rel=1e-5)


TABLE = "user,film,stars\nann,Alien,5\nbob,Alien,1\nann,Casino,2\n"


def test_a_table_is_scored_and_explained_by_its_schema(tmp_path):
    (tmp_path / "table.csv").write_text(TABLE)
    fm("convert", tmp_path / "table.csv", tmp_path / "rows.pbr", "--label", "stars")
    save_model(tmp_path / "model", model_of(4, 2), {})
    schema = ["--schema", tmp_path / "schema.json"]
    of_table = fm("predict", tmp_path / "model", tmp_path / "table.csv", *schema)
    assert of_table == fm("predict", tmp_path / "model", tmp_path / "rows.pbr")
    assert len(of_table.splitlines()) == 3
    text = fm("explain", tmp_path / "model", tmp_path / "table.csv", *schema, "--row", 2)
    assert "user=ann x film=Casino" in text
    assert "film=Casino" in fm("inspect", tmp_path / "model", *schema)
    assert fm("predict", tmp_path / "model", tmp_path / "table.csv") == of_table  # the schema lies beside the model
    (tmp_path / "new.csv").write_text("user,film\ncleo,Alien\n")
    assert "cleo" in fm("predict", tmp_path / "model", tmp_path / "new.csv", *schema, status=1)
    assert len(fm("predict", tmp_path / "model", tmp_path / "new.csv", *schema, "--unseen", "ignore").split()) == 1
    (tmp_path / "schema.json").unlink()
    sentence = fm("predict", tmp_path / "model", tmp_path / "table.csv", status=1)
    assert "column 'user' holds texts, which need --schema" in sentence


@pytest.mark.parametrize("suffix", ["libsvm", "csv", "npz", "tsv.gz"])
def test_rows_in_other_formats_get_the_same_scores(suffix, path, records, tmp_path):
    fm("convert", records, tmp_path / f"rows.{suffix}")
    label = ["--label", "0"] if suffix in ("csv", "tsv.gz") else []
    expected = np.array(fm("predict", path, records).split(), float)
    found = np.array(fm("predict", path, tmp_path / f"rows.{suffix}", *label).split(), float)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_damaged_file_leaves_no_half_of_an_output(path, records, tmp_path):
    records.write_bytes(records.read_bytes()[:-5])
    error = fm("predict", path, records, "-o", tmp_path / "scores", status=1)
    assert "rows.pbr: record 24" in error
    assert not (tmp_path / "scores").exists()
    assert not list(tmp_path.glob(".*"))


def test_rows_of_another_width_are_refused_by_place(path, tmp_path):
    with (tmp_path / "wide.pbr").open("wb") as file:
        write_records(file, scipy.sparse.csr_array(np.eye(3, 21, 20, dtype=np.float32)))
    assert "wide.pbr: rows have 21 features, expected 20" in fm("predict", path, tmp_path / "wide.pbr", status=1)


def test_a_score_that_overflows_is_refused_by_row(model, path, tmp_path):
    if model.is_classifier:
        pytest.skip("the logistic function of an infinity is a number")
    rows = np.zeros((2, 20), np.float32)
    rows[1] = 3e38
    with (tmp_path / "huge.pbr").open("wb") as file:
        write_records(file, rows)
    done = subprocess.run(
        [*FM, "predict", path, tmp_path / "huge.pbr"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "the score of row 1 overflows float32" in done.stderr


def test_a_bar_is_drawn_on_a_terminal_and_nowhere_else(path, records):
    pytest.importorskip("tqdm")
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    command = [*FM, "predict", path, records]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=follower, check=True)
    os.set_blocking(leader, False)
    drawn = os.read(leader, 65536).decode()
    os.close(leader)
    os.close(follower)
    assert "Reading" in drawn
    assert len(done.stdout.splitlines()) == 25
    assert subprocess.run(command, capture_output=True, check=True).stderr == b""


# --- explain -------------------------------------------------------------------------------


def test_the_shares_of_each_row_add_up_to_its_score(model, path, rows, records, names):
    scores = model.predict(Batch.from_csr(rows))
    objects = [
        json.loads(line) for line in fm("explain", path, records, "--json", "--names", names, "--top", 3).splitlines()
    ]
    assert [o["row"] for o in objects] == list(range(25))
    for o, score in zip(objects, scores, strict=True):
        assert np.float32(o["score"]) == score
        total = o["bias"] + sum(s["share"] for s in o["features"] + o["pairs"]) + o["rest"]
        assert total == pytest.approx(o["total"])
        assert (1 / (1 + np.exp(-total)) if model.is_classifier else total) == pytest.approx(score, rel=1e-4)
        assert all(s["name"] == f"name of {s['feature']}" for s in o["features"])
        assert all(s["names"] == [f"name of {i}" for i in s["features"]] for s in o["pairs"])


def test_one_row_is_explained_in_words(model, path, rows, records, names):
    text = fm("explain", path, records, "--row", 7, "--names", names, "--top", 2)
    assert text.count("row ") == 1
    assert f"row 7: score {model.predict(Batch.from_csr(rows))[7]:.6g}" in text
    assert text.count(" x name of ") == 2
    assert "smaller shares" in text
    assert ("logarithm of the odds" in text) == model.is_classifier


def test_a_row_far_down_a_file_is_found(model, path, tmp_path):
    rows = scipy.sparse.csr_array(np.eye(20, dtype=np.float32)[np.arange(9000) % 20])
    with (tmp_path / "long.pbr").open("wb") as file:
        write_records(file, rows)
    (line,) = fm("explain", path, tmp_path / "long.pbr", "--row", 8999, "--json").splitlines()
    explained = json.loads(line)
    assert (explained["row"], explained["features"][0]["feature"]) == (8999, 19)
    assert len(fm("explain", path, tmp_path / "long.pbr", "--json").splitlines()) == 9000


def test_a_row_that_is_not_there_is_said(path, records):
    assert "rows.pbr has no row 25: rows are counted from 0" in fm("explain", path, records, "--row", 25, status=1)
