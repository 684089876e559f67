"""The registry of a multi-model endpoint: names, memory, and several processes at once."""

import contextlib
import os
import pathlib
import signal
import threading

import numpy as np
import pytest

from container.serving.app import create_app
from container.serving.errors import ModelExistsError, ModelNotLoadedError
from container.serving.model_registry import ModelRegistry
from container.serving.settings import ServingSettings
from fm_core.artifact.model_file import load_model, save_model
from fm_core.errors import ArtifactError, DataError, ResourceError
from fm_core.model import Model

BODY = {"instances": [{"keys": [], "values": []}]}


def constant(w0, feature_dim=4):
    """A model that scores an empty row with w0, so that answers tell models apart."""
    return Model("regressor", w0, np.zeros(feature_dim, np.float32), np.zeros((feature_dim, 2), np.float32))


@pytest.fixture
def root(tmp_path):
    for number in range(4):
        folder = tmp_path / "models" / f"m{number}" / "model"
        folder.mkdir(parents=True)
        save_model(folder / "model_algo-1", constant(float(number)), {})
    return tmp_path / "models"


@pytest.fixture
def make_registry(root, tmp_path):
    def make(memory=2**30):
        state = tmp_path / "state"
        state.mkdir(exist_ok=True)
        return ModelRegistry(root, memory, state, load_model)

    return make


def url(root, number):
    return str(root / f"m{number}" / "model")


def size(root):
    return (root / "m0/model/model_algo-1").stat().st_size


def test_a_model_is_loaded_found_and_dropped(make_registry, root):
    registry = make_registry()
    registry.load("one", url(root, 1))
    registry.load("two", url(root, 2))
    assert (registry.get("one").w0, registry.get("two").w0) == (1, 2)
    assert registry.unload("one") == url(root, 1)
    for call in (registry.get, registry.url, registry.unload):
        with pytest.raises(ModelNotLoadedError, match="'one' is not loaded"):
            call("one")
    registry.load("one", url(root, 3))
    assert registry.get("one").w0 == 3


def test_a_name_is_loaded_once(make_registry, root):
    registry = make_registry()
    registry.load("one", url(root, 1))
    with pytest.raises(ModelExistsError):
        registry.load("one", url(root, 2))
    assert registry.get("one").w0 == 1


def test_the_model_longest_unused_makes_room(make_registry, root):
    registry = make_registry(2 * size(root) + 10)
    registry.load("zero", url(root, 0))
    registry.load("one", url(root, 1))
    registry.get("zero")
    registry.load("two", url(root, 2))
    assert sorted(registry.page("")[0]) == ["two", "zero"]


def test_a_model_too_large_for_all_memory_drops_none(make_registry, root):
    registry = make_registry(size(root) + 10)
    registry.load("zero", url(root, 0))
    save_model(root / "m1/model/model_algo-1", constant(0.0, feature_dim=999), {})
    with pytest.raises(ResourceError, match="FM_MODEL_MEMORY_MB"):
        registry.load("large", url(root, 1))
    assert list(registry.page("")[0]) == ["zero"]


def test_pages_list_every_name_once(make_registry, root):
    registry = make_registry()
    names = [f"n{i:03}" for i in range(205)]
    for name in names:
        registry.load(name, url(root, 1))
    seen, token, pages = [], "", 0
    while token is not None:
        page, token = registry.page(token)
        seen += page
        pages += 1
    assert (seen, pages) == (names, 3)


@pytest.mark.parametrize(
    "what", ["absent", "", "root", "parent", "dots", "outside", "file outside", "null byte", "relative"]
)
def test_a_url_outside_of_the_models_is_refused(make_registry, root, tmp_path, what):
    outside = tmp_path / "other"
    outside.mkdir()
    save_model(outside / "model_algo-1", constant(9.0), {})
    urls = {
        "absent": str(root / "none"),
        "": "",
        "root": str(root),
        "parent": str(tmp_path),
        "dots": str(root / "m0/../../other"),
        "outside": str(outside),
        "file outside": str(outside / "model_algo-1"),
        "null byte": str(root / "m0") + "\0",
        "relative": "other",
    }
    with pytest.raises(DataError):
        make_registry().load("name", urls[what])


@pytest.mark.parametrize("link", ["folder", "file"])
def test_a_link_out_of_the_models_is_refused(make_registry, root, tmp_path, link):
    outside = tmp_path / "other"
    outside.mkdir()
    save_model(outside / "model_algo-1", constant(9.0), {})
    if link == "folder":
        (root / "linked").symlink_to(outside)
    else:
        (root / "linked").mkdir()
        (root / "linked/model_algo-1").symlink_to(outside / "model_algo-1")
    with pytest.raises(DataError, match="points outside"):
        make_registry().load("name", str(root / "linked"))


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "a b", "ü", "%2e%2e", "\n", ".", "x" * 1024])
def test_a_name_is_only_a_key(make_registry, root, tmp_path, name):
    before = sorted(path for path in tmp_path.rglob("*") if "state" not in path.parts)
    registry = make_registry()
    registry.load(name, url(root, 2))
    assert registry.get(name).w0 == 2
    assert list(registry.page("")[0]) == [name]
    registry.unload(name)
    assert sorted(path for path in tmp_path.rglob("*") if "state" not in path.parts) == before


def test_a_damaged_model_is_not_loaded(make_registry, root):
    (root / "m1/model/model_algo-1").write_bytes(b"no model")
    registry = make_registry()
    with pytest.raises(ArtifactError):
        registry.load("one", url(root, 1))
    assert registry.page("") == ({}, None)


def in_child(work):
    """Run in a forked process, as a worker; what it returns, as text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, str(work()).encode())
        except BaseException as error:
            os.write(writer, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read().decode()
    os.waitpid(child, 0)
    return text


def test_what_one_worker_loads_and_drops_the_others_see(make_registry, root):
    registry = make_registry()
    in_child(lambda: registry.load("one", url(root, 1)))
    assert registry.get("one").w0 == 1
    assert in_child(lambda: registry.get("one").w0) == "1.0"
    in_child(lambda: registry.unload("one"))
    with pytest.raises(ModelNotLoadedError):
        registry.get("one")
    in_child(lambda: registry.load("one", url(root, 2)))
    assert registry.get("one").w0 == 2, "the same name, another model"
    assert in_child(lambda: registry.load("one", url(root, 1))) == "ModelExistsError"


def test_no_load_is_lost_when_two_workers_load_at_once(make_registry, root):
    registry = make_registry()

    def load_fifty(name):
        for number in range(50):
            registry.load(f"{name}{number}", url(root, 1))

    children = []
    for name in "ab":
        child = os.fork()
        if child == 0:
            load_fifty(name)
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    assert len(registry.page("")[0]) == 100


def test_use_in_one_worker_counts_in_another(make_registry, root):
    registry = make_registry(2 * size(root) + 10)
    registry.load("zero", url(root, 0))
    registry.load("one", url(root, 1))
    in_child(lambda: registry.get("zero").w0)
    registry.load("two", url(root, 2))
    assert sorted(registry.page("")[0]) == ["two", "zero"]


def test_a_model_whose_files_are_gone_counts_as_not_loaded(make_registry, root):
    registry = make_registry()
    in_child(lambda: registry.load("one", url(root, 1)))  # so that this process has not mapped it
    (root / "m1/model/model_algo-1").unlink()
    (root / "m1/model").rmdir()
    with pytest.raises(ModelNotLoadedError):
        registry.get("one")
    assert registry.page("") == ({}, None)


def test_loading_and_dropping_at_once_gives_no_wrong_model(make_registry, root):
    registry = make_registry(3 * size(root) + 10)
    wrong, stop = [], threading.Event()

    def churn(number):
        while not stop.is_set():
            with contextlib.suppress(ModelExistsError):
                registry.load(f"m{number}", url(root, number))
            with contextlib.suppress(ModelNotLoadedError):
                registry.unload(f"m{number}")

    def ask():
        for turn in range(600):
            number = turn % 4
            try:
                found = registry.get(f"m{number}").w0
            except ModelNotLoadedError:
                continue
            if found != number:
                wrong.append((number, found))

    def child_work():
        threads = [threading.Thread(target=churn, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            child_work()
            os._exit(0)
        children.append(child)
    try:
        ask()
    finally:
        for child in children:  # wherever they are, a lock held included
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert not wrong
    for name in registry.page("")[0]:
        registry.unload(name)
    registry.load("after", url(root, 3))
    assert registry.get("after").w0 == 3


# --- the API ---------------------------------------------------------------------------------


@pytest.fixture
def client(make_registry):
    settings = ServingSettings(multi_model=True, root=pathlib.Path("/nowhere"))
    return create_app(make_registry(), settings).test_client()


def load(client, name, where):
    return client.post("/models", json={"model_name": name, "url": where})


def test_the_api_loads_lists_invokes_and_unloads(client, root):
    assert load(client, "a", url(root, 1)).status_code == 200
    assert load(client, "a", url(root, 1)).status_code == 409
    assert client.get("/models").json == {
        "models": [{"modelName": "a", "modelUrl": url(root, 1)}],
        "nextPageToken": None,
    }
    assert client.get("/models/a").json == {"modelName": "a", "modelUrl": url(root, 1)}
    assert client.post("/models/a/invoke", json=BODY).json == {"predictions": [{"score": 1.0}]}
    assert client.delete("/models/a").status_code == 200
    for answer in (client.delete("/models/a"), client.get("/models/a"), client.post("/models/a/invoke", json=BODY)):
        assert (answer.status_code, answer.content_type) == (404, "application/json")


def test_names_with_slashes_and_escapes_work_in_addresses(client, root):
    load(client, "team/model.tar.gz", url(root, 2))
    assert client.post("/models/team/model.tar.gz/invoke", json=BODY).json == {"predictions": [{"score": 2.0}]}
    load(client, "a b/invoke", url(root, 3))
    assert client.post("/models/a%20b/invoke/invoke", json=BODY).json == {"predictions": [{"score": 3.0}]}


def test_pages_of_the_api(client, root):
    for number in range(101):
        load(client, f"n{number:03}", url(root, 1))
    first = client.get("/models").json
    assert len(first["models"]) == 100
    second = client.get("/models", query_string={"next_page_token": first["nextPageToken"]}).json
    assert [model["modelName"] for model in second["models"]] == ["n100"]
    assert second["nextPageToken"] is None


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"model_name":1,"url":"x"}', b'{"model_name":"","url":"x"}'])
def test_a_load_that_cannot_be_read_is_refused(client, body):
    assert client.post("/models", data=body).status_code == 400


def test_statuses_of_loads_that_fail(client, root, make_registry):
    (root / "m1/model/model_algo-1").write_bytes(b"no model")
    assert load(client, "damaged", url(root, 1)).status_code == 500
    assert load(client, "outside", "/etc").status_code == 400
    small = create_app(make_registry(10), ServingSettings(multi_model=True)).test_client()
    assert load(small, "large", url(root, 2)).status_code == 507


def test_single_model_addresses_are_absent(client):
    assert client.post("/invocations", json=BODY).status_code == 404
    assert client.get("/ping").status_code == 200


def test_folders_of_any_size_and_depth_are_settled_at_once(make_registry, root):
    """Each of 20,000 files, and 300 folders within each other, was resolved from the root on."""
    many, deep = root / "models/many", root / "models/deep"
    many.mkdir(parents=True)
    for number in range(10_001):
        (many / f"f{number}").touch()
    inner = deep.joinpath(*"d" * 300)
    inner.mkdir(parents=True)
    registry = make_registry()
    with pytest.raises(DataError, match="holds more than 10000 files, expected those of a model"):
        registry.load("many", str(many))
    (inner / "out").symlink_to(root.parent)
    with pytest.raises(DataError, match="points outside"):
        registry.load("deep", str(deep))
