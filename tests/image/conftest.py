"""The image, built once, and how to run it; everything here is skipped where no Docker engine answers."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import pytest

from local_test.opt_ml import lay_out
from tests.conftest import ROOT

IMAGE = "factorization-machines"  # as `make image` and the README name it


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.image)
            item.add_marker(pytest.mark.timeout(900 if "image" in item.fixturenames else 300))


def docker(*arguments, check=True, **options):
    """Run the client and give what it printed."""
    done = subprocess.run(["docker", *map(str, arguments)], capture_output=True, text=True, check=False, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"docker {' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stderr}")
    return done


@pytest.fixture(scope="session")
def engine():
    """Skip without an engine."""
    if shutil.which("docker") is None or docker("version", check=False).returncode != 0:
        pytest.skip("no Docker engine answers here")


@pytest.fixture(scope="session")
def image(engine):
    """Build the image, as a user does; PyTorch's wheel comes from where this machine's pip finds it, if it does.

    FM_IMAGE_IS_BUILT, if it is set, spares the minutes: the image is then taken as it is. FM_IMAGE names another one
    that is built, such as that of `make image-arm`.
    """
    if os.environ.get("FM_IMAGE_IS_BUILT") or "FM_IMAGE" in os.environ:
        return os.environ.get("FM_IMAGE", IMAGE)
    fetched = subprocess.run(["make", "image-wheels"], cwd=ROOT, capture_output=True, check=False).returncode == 0
    command = ["make", "image", f"IMAGE={IMAGE}", *(["WHEELS=build/wheels"] if fetched else [])]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
    return IMAGE


@pytest.fixture(scope="session")
def local_test(tmp_path_factory):
    """Copy local_test, with the data of its tree made."""
    copy = tmp_path_factory.mktemp("checkout") / "local_test"
    shutil.copytree(
        ROOT / "local_test", copy, ignore=shutil.ignore_patterns("work", "data", "model", "output", "request.*")
    )
    subprocess.run([sys.executable, copy / "make_data.py"], check=True)
    return copy


@pytest.fixture
def job(local_test, tmp_path):
    """Make the tree of a small training job; call it with hyperparameters to change."""

    def make(**changes):
        given = json.loads((local_test / "test_dir/input/config/hyperparameters.json").read_text())
        data = local_test / "test_dir/input/data"
        root = tmp_path / "opt_ml"
        lay_out(root, {**given, **changes}, {name: data / name / "part-0.pbr" for name in ("train", "test")})
        return root

    return make


@pytest.fixture(scope="session")
def model(image, local_test, tmp_path_factory):
    """Train a model in the image, and give its folder."""
    root = tmp_path_factory.mktemp("trained") / "opt_ml"
    data = local_test / "test_dir/input/data"
    given = json.loads((local_test / "test_dir/input/config/hyperparameters.json").read_text())
    lay_out(root, given, {"train": data / "train/part-0.pbr"})
    docker("run", "--rm", "-v", f"{root}:/opt/ml", image, "train")
    return root / "model"


@contextlib.contextmanager
def container(*arguments):
    """Start a container in the background and give its name; it is removed afterwards."""
    name = f"fm-test-{uuid.uuid4().hex[:12]}"
    docker("run", "--detach", "--name", name, *arguments)
    try:
        yield name
    finally:
        docker("rm", "--force", "--volumes", name, check=False)


def logs(name):
    done = docker("logs", name)
    return done.stdout + done.stderr


def wait_for(name, words):
    """Wait until a container's log has the words."""
    deadline = time.monotonic() + 60
    while words not in logs(name):
        assert time.monotonic() < deadline, logs(name)
        time.sleep(0.2)


def address(name, port=8080):
    """Wait until a published port of a container answers /ping, and give its address."""
    host = docker("port", name, f"{port}/tcp").stdout.split()[0]
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://{host}/ping", timeout=2):
                return f"http://{host}"
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            running = docker("inspect", "--format", "{{.State.Running}}", name).stdout.strip() == "true"
            if not running or time.monotonic() > deadline:
                raise AssertionError(f"no answer to /ping:\n{logs(name)}") from None
            time.sleep(0.2)


def post(url, body, content_type="application/json", accept="application/json"):
    request = urllib.request.Request(url, body, {"Content-Type": content_type, "Accept": accept})
    with urllib.request.urlopen(request, timeout=60) as response:
        return response.read()
