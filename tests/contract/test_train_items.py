"""The catalogue that `train` leaves beside its model: of channel `items`, or of the records that it learned from."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from fm_core.analysis.recommendation import Recommender
from fm_core.artifact.model_file import load_model
from tests.conftest import ROOT
from tests.contract.serving import serving
from tests.contract.test_pipe import fed
from tests.contract.training import Job

N_USERS, N_FILMS = 20, 30
GENRES = ("crime|drama", "scifi", "drama|scifi|war")
RATINGS = "user,film,genres,year,rating\n" + "".join(
    f"u{i * 7 % N_USERS},m{i * 11 % N_FILMS},{GENRES[i * 11 % N_FILMS % 3]},{i * 11 % N_FILMS / 4},{i % 5 + 1}\n"
    for i in range(400)
)
FILMS = "film,genres,title\n" + "".join(f"m{i},{GENRES[i % 3]},Film {i}\n" for i in range(0, N_FILMS, 2))


def converted(job):
    """The job's records, with schema.json beside them."""
    folder = job.root / "input/data/train"
    folder.mkdir(exist_ok=True)
    (job.root / "ratings.csv").write_text(RATINGS)
    done = subprocess.run(
        [sys.executable, "-m", "fm_core.cli", "convert", job.root / "ratings.csv", folder / "x.recordio", "--label",
         "rating", "--several", "genres:|"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    job.hyperparameters |= {
        "feature_dim": done.stdout.split("feature_dim is ")[1].split()[0].strip(".,;"),
        "num_factors": "4", "predictor_type": "regressor", "mini_batch_size": "50", "epochs": "2",
        "factors_init_sigma": "0.1",
    }  # fmt: skip
    return folder


def test_of_a_channel(tmp_path):
    job = Job(tmp_path / "job")
    converted(job)
    job.put("films.csv", FILMS.encode(), "items")
    finished = job.run()
    assert finished.code == 0, finished.log
    assert "catalogue.csv has 15 items" in finished.log
    assert "Channel items is not used" not in finished.log
    assert (job.root / "model/catalogue.csv").read_text() == FILMS
    with serving(job.root, tmp_path) as server:
        status, _, body = server.invoke({"instances": [{"columns": {"user": "u1"}, "top_k": 4}]})
        assert status == 200, body
        items = json.loads(body)["predictions"][0]["items"]
        assert len(items) == 4
        assert items[0]["columns"]["title"].startswith("Film ")


@pytest.mark.parametrize("loss", ["pointwise", "pairwise"])
def test_of_the_records(tmp_path, loss):
    job = Job(tmp_path / "job")
    folder = converted(job)
    job.hyperparameters |= {"user_features": "user", "item_features": "film,genres,year", "loss": loss}
    finished = job.run()
    assert finished.code == 0, finished.log
    with (job.root / "model/catalogue.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [row["film"] for row in found] == columns(folder)["film"]["categories"]
    for row in found:
        number = int(row["film"][1:])
        assert set(row["genres"].split("|")) == set(GENRES[number % 3].split("|"))
        assert float(row["year"]) == number / 4
    recommender = Recommender.beside(load_model(job.root / "model"), job.root / "model")
    (best,) = recommender.recommend([{"columns": {"user": "u1"}, "top_k": N_FILMS}])
    assert len(best.items) == N_FILMS


def columns(folder):
    return {column["name"]: column for column in json.loads((folder / "schema.json").read_text())["columns"]}


def test_of_records_without_a_schema(tmp_path):
    job = Job(tmp_path / "job")
    folder = converted(job)
    names = columns(folder)
    first = {name: column["first_feature"] for name, column in names.items()}
    job.hyperparameters |= {
        "item_features": f"{first['film']}:{first['film'] + N_FILMS},{first['year']}:{first['year'] + 1}"
    }
    (folder / "schema.json").unlink()
    finished = job.run()
    assert finished.code == 0, finished.log
    recommender = Recommender.beside(load_model(job.root / "model"), job.root / "model")
    _, keys, values = recommender.catalogue.rows.csr
    assert len(recommender.catalogue) == N_FILMS
    assert set(keys.tolist()) == {*range(first["film"], first["film"] + N_FILMS), first["year"]}
    assert np.isclose(values[keys == first["year"]].max(), (N_FILMS - 1) / 4)


def test_in_pipe_mode_the_schema_may_come_with_the_items(tmp_path):
    job = Job(tmp_path / "job")
    folder = converted(job)
    job.put("films.csv", FILMS.encode(), "items")
    (folder / "schema.json").rename(job.root / "input/data/items/schema.json")
    (folder / "x.recordio").rename(tmp_path / "x.recordio")
    job.channels["train"] = {"TrainingInputMode": "Pipe"}
    with fed(job, "train", tmp_path / "x.recordio", epochs=2):
        finished = job.run()
    assert finished.code == 0, finished.log
    assert {"schema.json", "catalogue.csv", "model_algo-1"} <= {file.name for file in (job.root / "model").iterdir()}


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("films.csv", "film\nm1\nm999\n", "films.csv: line 3, column 'film': 'm999' was not seen when the schema"),
        ("films.csv", "film\nm1\nm1\n", "line 3, column 'film': 'm1' occurs twice"),
        ("films.csv", "film\n", "channel items holds no items, expected at least one"),
        ("films.csv", "title,colour\nAlien,red\n", "none of the columns title, colour is in the model's schema"),
        ("films.dat", "film\nm1\n", "the name does not tell the format"),
        ("films.recordio", "film\nm1\n", "recordio has no named columns, expected a table"),
        ("films", "film\nm1\n", "recordio has no named columns, expected a table"),
        (".films.csv", "film\nm1\n", "holds a table of items"),
    ],
)
def test_a_table_that_is_none_ends_the_job_before_training(tmp_path, name, text, sentence):
    job = Job(tmp_path / "job")
    converted(job)
    job.put(name, text.encode(), "items")
    finished = job.run()
    assert finished.code == 1
    assert finished.failure.startswith("ClientError: ")
    assert sentence in finished.failure
    assert "epoch=0" not in finished.log


def test_items_of_a_pipe_are_refused(tmp_path):
    job = Job(tmp_path / "job")
    converted(job)
    job.put("films.csv", FILMS.encode(), "items")
    job.channels["items"] = {"TrainingInputMode": "Pipe", "ContentType": "text/csv"}
    assert "channel items: TrainingInputMode is Pipe, expected File or FastFile" in job.run().failure


@pytest.mark.parametrize(
    ("of_items", "sentence"),
    [
        ("user,genres", None),
        ("genres", "column 'genres' has no ids of items"),
        ("year", "column 'year' has no ids of items"),
    ],
)
def test_what_no_catalogue_can_be_made_of_is_said_and_the_model_is_kept(tmp_path, of_items, sentence):
    job = Job(tmp_path / "job")
    converted(job)
    job.hyperparameters["item_features"] = of_items
    finished = job.run()
    assert finished.code == 0, finished.log
    assert (job.root / "model/catalogue.csv").exists() == (sentence is None)
    assert sentence is None or sentence in finished.log
