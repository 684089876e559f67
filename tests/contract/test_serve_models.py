"""The multi-model API over real worker processes."""

import json

import numpy as np
import pytest

from fm_core.artifact.model_file import save_model
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
