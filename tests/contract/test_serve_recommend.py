"""A catalogue beside the model, asked of a real server: from somebody's tables to the ten films."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from fm_core.analysis.recommendation import Recommender
from fm_core.artifact.model_file import load_model
from tests.conftest import ROOT
from tests.contract.serving import refused_start, serving
from tests.contract.training import Job

N_USERS, N_FILMS = 20, 60
RATINGS = "user,film,genres,rating\n" + "".join(
    f"u{i * 7 % N_USERS},m{i * 11 % N_FILMS},{'crime|drama' if i * 11 % N_FILMS % 2 else 'scifi'},{i % 5 + 1}\n"
    for i in range(900)
)
ITEMS = "film,genres,year\n" + "".join(
    f"m{i},{'crime|drama' if i % 2 else 'scifi'},{1950 + i}\n" for i in range(N_FILMS)
)


def fm(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "fm_core.cli", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A model, and the catalogue that `fm catalogue` wrote."""
    job = Job(tmp_path_factory.mktemp("job"))
    (job.root / "ratings.csv").write_text(RATINGS)
    (job.root / "films.csv").write_text(ITEMS)
    folder = job.root / "input/data/train"
    folder.mkdir()
    done = fm("convert", job.root / "ratings.csv", folder / "x.recordio", "--label", "rating", "--several", "genres:|")
    assert done.returncode == 0, done.stderr
    dimension = done.stdout.split("feature_dim is ")[1].split()[0].strip(".,;")
    job.hyperparameters |= {"feature_dim": dimension, "linear_lr": "0.05", "factors_lr": "0.05",
                            "factors_init_sigma": "0.1", "predictor_type": "regressor"}  # fmt: skip
    finished = job.run()
    assert finished.code == 0, finished.log
    done = fm("catalogue", job.root / "model", job.root / "films.csv")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("catalogue.csv: 60 items, columns film, genres, year\n")
    return job


@pytest.fixture(scope="module")
def server(job, tmp_path_factory):
    with serving(job.root, tmp_path_factory.mktemp("log"), SAGEMAKER_MODEL_SERVER_WORKERS=2) as server:
        yield server


@pytest.fixture(scope="module")
def recommender(job):
    return Recommender.beside(load_model(job.root / "model"), job.root / "model")


REQUESTS = [
    {"columns": {"user": "u3"}, "top_k": 10},
    {"columns": {"user": "u4"}, "top_k": 3, "exclude": ["m1", "m3"], "filter": {"genres": "crime"}},
    {"columns": {"user": "new"}, "top_k": 5, "history": [{"film": "m2", "label": 5}, {"film": "m4", "label": 1}]},
    {"columns": {"user": "u5"}, "top_k": 2, "explain": 3, "filter": {"year": {"min": 1980}}},
    {"context": {"keys": [0], "values": [1]}, "top_k": 4},
    {"columns": {"user": "u3"}, "top_k": 10, "filter": {"genres": "horror"}},
    {"columns": {"user": "u3"}, "top_k": 1000},
]


def documents(recommender, requests):
    found = []
    for each in recommender.recommend(requests):
        items = [{"columns": c, "score": s} for c, s in zip(each.columns, each.scores.tolist(), strict=True)]
        for item, explanation in zip(items, each.explanations or [], strict=False):
            item["explanation"] = explanation
        found.append({"items": items})
    return found


def same(answers, expected):
    """Whether they say the same, scores as float32."""

    def rounded(value):
        if isinstance(value, dict):
            return {name: np.float32(each) if name == "score" else rounded(each) for name, each in value.items()}
        return [rounded(each) for each in value] if isinstance(value, list) else value

    return rounded(answers) == rounded(expected)


def test_the_endpoint_answers_what_python_does(server, recommender):
    status, headers, body = server.invoke({"instances": REQUESTS})
    assert status == 200, body
    assert headers["Content-Type"] == "application/json"
    answers = json.loads(body)["predictions"]
    assert same(answers, documents(recommender, REQUESTS))
    assert [len(answer["items"]) for answer in answers] == [10, 3, 5, 2, 4, 0, N_FILMS]
    assert answers[1]["items"][0]["columns"]["genres"] == ["crime", "drama"]


def test_so_it_does_in_json_lines(server, recommender):
    lines = b"\n".join(json.dumps(request).encode() for request in REQUESTS)
    status, headers, body = server.invoke(lines, "application/jsonlines", accept="application/jsonlines")
    assert status == 200, body
    assert headers["Content-Type"] == "application/jsonlines"
    assert same([json.loads(line) for line in body.split(b"\n")], documents(recommender, REQUESTS))


def test_so_it_does_in_batch_transform(job, recommender, tmp_path):
    with serving(job.root, tmp_path, SAGEMAKER_BATCH="true") as server:
        lines = b"\n".join(json.dumps(request).encode() for request in REQUESTS * 30)
        status, _, body = server.invoke(lines, "application/jsonlines", accept="application/jsonlines")
        assert status == 200, body
        assert same([json.loads(line) for line in body.split(b"\n")], documents(recommender, REQUESTS * 30))


def test_a_classifier_gives_labels_too(job, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(job.root / "model", copy / "model")
    from fm_core.artifact.model_file import save_model
    from fm_core.model import Model

    model = load_model(job.root / "model")
    save_model(copy / "model/model_algo-1", Model("binary_classifier", model.w0, model.w, model.V), {})
    with serving(copy, tmp_path) as server:
        status, _, body = server.invoke({"instances": [{"columns": {"user": "u3"}, "top_k": 1}]})
        assert status == 200, body
        assert json.loads(body)["predictions"][0]["items"][0]["predicted_label"] in (0.0, 1.0)


@pytest.mark.parametrize(
    ("instance", "sentence"),
    [
        ({"columns": {"user": "nobody"}, "top_k": 1}, "instance 0, column 'user': 'nobody' was not seen"),
        ({"columns": {"user": "u1"}, "top_k": 0}, '"top_k" is 0, expected an integer of at least 1'),
        ({"columns": {"user": "u1"}, "filter": {}}, '"top_k" is None'),
        ({"columns": {"user": "u1"}, "top_k": 1, "filter": {"colour": 1}}, "filter 'colour' is not a column"),
        ({"columns": {"user": "x"}, "top_k": 1, "history": [{"film": "m99", "label": 1}]}, "'m99' was not seen"),
        ({"features": [1], "top_k": 1}, "has 'features', expected only columns"),
    ],
)
def test_a_request_that_is_not_as_it_should_be_is_refused_in_a_sentence(server, instance, sentence):
    status, _, body = server.invoke({"instances": [instance]})
    assert status == 400
    assert sentence in json.loads(body)["detail"]
    assert b"\n" not in body.strip()


def test_recommended_scores_are_counted(job, tmp_path):
    with serving(job.root, tmp_path) as server:
        status, _, body = server.invoke({"instances": REQUESTS})
        assert status == 200, body
        n_items = sum(len(answer["items"]) for answer in json.loads(body)["predictions"])

        def n_counted():
            text = server.ask("GET", "/metrics")[2].decode()
            series = (line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("fm_scores_total"))
            return sum(float(number) for _, number in series)

        server.wait_for(lambda: n_counted() == n_items)


def test_it_is_not_written_as_csv(server):
    status, _, body = server.invoke({"instances": REQUESTS}, accept="text/csv")
    assert status == 406
    assert b"recommendations cannot be written as text/csv" in body


def test_without_a_catalogue_there_are_no_items_to_recommend(job, tmp_path):
    shutil.copytree(job.root / "model", tmp_path / "copy/model")
    (tmp_path / "copy/model/catalogue.csv").unlink()
    with serving(tmp_path / "copy", tmp_path) as server:
        status, _, body = server.invoke({"instances": REQUESTS})
        assert status == 400
        assert b"the model has no catalogue: put the catalogue.csv" in body


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("film\nm1\nm999\n", "catalogue.csv: line 3, column 'film': 'm999' was not seen when the schema was made"),
        ("title,colour\nAlien,red\n", "none of the columns title, colour is in the model's schema"),
        ("film\n", "catalogue.csv holds no items"),
        ("film\nm1\nm1\n", "line 3, column 'film': 'm1' occurs twice"),
        (b"film\n\xff\xfe\n", "expected UTF-8"),
        (None, "points outside the model's folder"),
    ],
)
def test_a_catalogue_that_is_none_ends_the_server_in_a_sentence(job, tmp_path, text, sentence):
    shutil.copytree(job.root / "model", tmp_path / "copy/model")
    path = tmp_path / "copy/model/catalogue.csv"
    path.unlink()
    if text is None:
        path.symlink_to(job.root / "films.csv")
    else:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    status, stderr = refused_start(tmp_path / "copy")
    assert status == 1
    assert sentence in stderr
    assert stderr.count("\n") == 1


def test_catalogues_can_be_of_training_data_of_a_schema_or_of_features(job, tmp_path):
    shutil.copytree(job.root / "model", tmp_path / "model")
    model = tmp_path / "model"
    done = fm("catalogue", model, job.root / "ratings.csv", "--item", "film", "--columns", "genres", "--distinct")
    assert "60 items, columns film, genres" in done.stdout, done.stderr
    done = fm("catalogue", model, "--item", "film", "-o", tmp_path / "all.csv")
    assert "60 items, columns film" in done.stdout, done.stderr
    (model / "schema.json").unlink()
    done = fm("catalogue", model, "--features", "20:80")
    assert "60 items, columns features" in done.stdout, done.stderr
    with serving(tmp_path, tmp_path) as server:
        status, _, body = server.invoke({"instances": [{"context": {"keys": [0], "values": [1]}, "top_k": 2}]})
        assert status == 200, body
        assert len(json.loads(body)["predictions"][0]["items"]) == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "no items were given"),
        (
            ["--item", "book"],
            "--item is 'book', expected a column of categories in the schema, one in a cell: user, film",
        ),
        (["--item", "genres"], "--item is 'genres', expected a column of categories"),
        (["--features", "0:1000000"], "expected a range within 0:"),
        (["films.csv", "--features", "0:1"], "--features and a table exclude each other"),
        (["films.csv", "--distinct"], "--distinct needs --item and --columns"),
        (["x.recordio"], "recordio has no named columns, expected a table: one of csv, tsv, parquet, arrow"),
        (["films.csv", "--item", "book"], "there is no column 'book'"),
    ],
)
def test_what_cannot_be_a_catalogue_is_said(job, tmp_path, arguments, sentence):
    shutil.copytree(job.root / "model", tmp_path / "model")
    (tmp_path / "model/catalogue.csv").unlink()
    (tmp_path / "films.csv").write_text(ITEMS)
    (tmp_path / "x.recordio").write_bytes(b"")
    places = [tmp_path / word if word.startswith(("films", "x.")) else word for word in arguments]
    done = fm("catalogue", tmp_path / "model", *places)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "model/catalogue.csv").exists()
