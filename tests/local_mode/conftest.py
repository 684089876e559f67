"""The two SDKs, each in an environment of its own, and programs run in them; all skipped where no engine answers."""

import dataclasses
import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.image.conftest import docker, engine, image, local_test  # noqa: F401

HERE = Path(__file__).parent
SECONDS = 240


def pytest_addoption(parser):
    parser.addoption(
        "--write-transcript", action="store_true", help="renew the transcripts of docs/how-to/local_mode.md"
    )


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.image)
            item.add_marker(pytest.mark.timeout(900 + SECONDS))  # the first one builds the image


@dataclasses.dataclass(frozen=True)
class Done:
    """What a program did: its exit code, what it printed, and the hosts that it was not let speak to."""

    code: int
    output: str
    refused: list[str]


@dataclasses.dataclass(frozen=True)
class Sdk:
    """One version of the SDK."""

    version: int
    environment: Path
    example: str

    def run(self, folder, program, *arguments):
        """Run a program in the SDK's environment, kept to this machine; the folder is a copy of local_test."""
        refused = folder / "refused"
        refused.unlink(missing_ok=True)
        command = [self.environment / "bin/python", HERE / "offline.py", refused, program, *arguments]
        settings = {
            **os.environ,
            "SAGEMAKER_SUPPRESS_V2_WARNING": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(folder),
        }
        done = subprocess.run(
            [str(each) for each in command],
            cwd=folder,
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        return Done(done.returncode, done.stdout, refused.read_text().split())

    def fit(self, folder, image, hyperparameters="{}", instances=1):  # noqa: F811
        """Run one training job of the example's data."""
        return self.run(folder, HERE / f"fit_v{self.version}.py", image, instances, hyperparameters)


VERSIONS = [
    Sdk(2, ROOT / ".venvs/sdk", "local_mode.py"),
    Sdk(3, ROOT / ".venvs/sdk3", "local_mode_v3.py"),
]


@pytest.fixture(params=VERSIONS, ids=["v2", "v3"])
def sdk(request, engine):  # noqa: F811
    """Each version of the SDK, where its environment has been made."""
    if not (request.param.environment / ".installed").exists():
        pytest.skip(
            f"{request.param.environment.name}, the SDK's environment, is absent: `make test-local-mode` makes it"
        )
    yield request.param
    docker("network", "rm", "sagemaker-local", check=False)  # which the SDK leaves behind
