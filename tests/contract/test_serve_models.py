"""The multi-model API over real worker processes."""

import errno
import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest

from container.serving.app import create_app
from container.serving.model_registry import ModelRegistry
from container.serving.served_model import open_with_schema
from container.serving.settings import ServingSettings
from fm_core.artifact.model_file import save_model
from fm_core.formats.tables.schema import Column, TableSchema
from fm_core.model import Model
from tests.contract.serving import serving

BODY = {"instances": [{"keys": [], "values": []}]}


def constant(w0):
    return Model("regressor", w0, np.zeros(4, np.float32), np.zeros((4, 2), np.float32))


@pytest.fixture
def root(tmp_path):
    for number in range(3):
        folder = tmp_path / f"models/m{number}/model"
        folder.mkdir(parents=True)
        save_model(folder / "model_algo-1", constant(float(number)), {})
    return tmp_path


def test_every_worker_knows_every_model(root, tmp_path):
    with serving(root, tmp_path, SAGEMAKER_MULTI_MODEL="true") as server:

        def load(number):
            body = {"model_name": f"m{number}", "url": str(root / f"models/m{number}/model")}
            return server.invoke(body, path="/models")[0]

        def score(number):
            status, _, body = server.invoke(BODY, path=f"/models/m{number}/invoke")
            return json.loads(body)["predictions"][0]["score"] if status == 200 else status

        assert score(1) == 404
        assert [load(number) for number in range(3)] == [200] * 3
        assert load(1) == 409
        for _ in range(20):  # whichever worker answers
            assert [score(number) for number in range(3)] == [0, 1, 2]
        listed = json.loads(server.ask("GET", "/models")[2])["models"]
        assert [model["modelName"] for model in listed] == ["m0", "m1", "m2"]
        assert server.ask("DELETE", "/models/m1")[0] == 200
        assert {score(1) for _ in range(20)} == {404}
        assert server.ask("GET", "/models/m1")[0] == server.ask("DELETE", "/models/m1")[0] == 404
        assert server.ask("GET", "/models/m2")[0] == 200


def test_models_make_room_for_each_other_and_too_large_ones_are_a_507(root, tmp_path):
    for name, width in (("half", 140_000), ("other", 140_000), ("large", 290_000)):
        folder = root / f"models/{name}/model"
        folder.mkdir(parents=True)
        model = Model("regressor", 0.0, np.zeros(width, np.float32), np.zeros((width, 1), np.float32))
        save_model(folder / "model_algo-1", model, {})
    with serving(root, tmp_path, SAGEMAKER_MULTI_MODEL="true", FM_MODEL_MEMORY_MB=6) as server:

        def load(name):
            return server.invoke({"model_name": name, "url": str(root / f"models/{name}/model")}, path="/models")

        assert load("half")[0] == 200
        assert load("m1")[0] == 200
        assert load("other")[0] == 200
        names = {model["modelName"] for model in json.loads(server.ask("GET", "/models")[2])["models"]}
        assert names == {"m1", "other"}
        status, _, body = load("large")
        assert (status, b"FM_MODEL_MEMORY_MB" in body) == (507, True)


def test_it_starts_without_any_model(tmp_path):
    with serving(tmp_path, tmp_path, SAGEMAKER_MULTI_MODEL="true") as server:
        assert json.loads(server.ask("GET", "/models")[2]) == {"models": [], "nextPageToken": None}
        status, _, _ = server.invoke({"model_name": "x", "url": "/etc"}, path="/models")
        assert status == 400


def test_models_may_be_more_than_open_files(root, tmp_path):
    """Each worker has them all, and no file of them."""
    limits = {resource.RLIMIT_NOFILE: 100}
    with serving(root, tmp_path, limits, SAGEMAKER_MULTI_MODEL="true") as server, server.connect() as connection:

        def ask(path, document):
            connection.request("POST", path, json.dumps(document), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

        for number in range(250):
            url = str(root / f"models/m{number % 3}/model")
            assert ask("/models", {"model_name": f"n{number}", "url": url})[0] == 200
        for number in range(250):
            status, answer = ask(f"/models/n{number}/invoke", BODY)
            assert (status, answer) == (200, {"predictions": [{"score": float(number % 3)}]})
        for worker in server.workers:
            assert len(list(Path(f"/proc/{worker}/fd").iterdir())) < 40


def test_what_is_exhausted_is_a_507(root, tmp_path, monkeypatch):
    open_model = open_with_schema(None, "error")
    (tmp_path / "state").mkdir()
    registry = ModelRegistry(root / "models", 2**30, tmp_path / "state", open_model)
    app = create_app(registry, ServingSettings(multi_model=True)).test_client()
    url = str(root / "models/m1/model")
    used = [os.open("/dev/null", os.O_RDONLY)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used[0] + 1, hard))
        answer = app.post("/models", json={"model_name": "a", "url": url})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(used[0])
    assert (answer.status_code, "Too many open files" in answer.json["detail"]) == (507, True), answer.json
    for number in (errno.ENOSPC, errno.ENOMEM):
        monkeypatch.setattr(os, "pwrite", lambda *_, number=number: raise_(number))
        answer = app.post("/models", json={"model_name": "a", "url": url})
        assert (answer.status_code, os.strerror(number) in answer.json["detail"]) == (507, True), answer.json
    monkeypatch.undo()
    assert app.post("/models", json={"model_name": "a", "url": url}).status_code == 200


def raise_(number):
    raise OSError(number, os.strerror(number))


def test_a_model_may_lie_in_a_folder_of_its_own_below_the_one_that_is_named(root, tmp_path):
    (root / "model/1/export").mkdir(parents=True)
    save_model(root / "model/1/export/model_algo-1", constant(7.0), {})
    schema = TableSchema((Column("a", "categorical", categories=("x", "y", "z", "w")),))
    schema.save(root / "model/1/export/schema.json")
    with serving(root, tmp_path) as server:
        status, _, body = server.invoke({"instances": [{"columns": {"a": "x"}}]})
        assert (status, json.loads(body)) == (200, {"predictions": [{"score": 7.0}]})
