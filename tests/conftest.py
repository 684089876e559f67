"""Fixtures of every room: the shared folder, the kernels of this machine, Hypothesis's profiles."""

import os
import platform
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]

# `ci` draws the same examples every time; `dev` looks for new ones, and `thorough` for many more.
# A machine that runs other things may take its time: that is no fault of what is drawn.
hypothesis.settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=60, database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)  # fmt: skip
hypothesis.settings.register_profile("dev", deadline=None, max_examples=60)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=2000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_generate_tests(metafunc):
    """Run a test that takes `kernels` once for each implementation that this machine can run."""
    if "kernels" in metafunc.fixturenames:
        from fm_core.kernels import available

        builds = available()
        metafunc.parametrize("kernels", list(builds.values()), ids=list(builds))


@pytest.fixture(scope="session")
def processor():
    """What the processor can, by Linux's names; on x86-64."""
    if platform.machine() not in ("x86_64", "AMD64"):  # an emulator may show the flags of the machine it runs on
        pytest.skip(f"the flags are those of x86-64, and this is {platform.machine()}")
    listed = Path("/proc/cpuinfo")
    for line in listed.read_text(errors="replace").splitlines() if listed.exists() else []:
        if line.startswith("flags"):
            return set(line.partition(":")[2].split())
    pytest.skip("/proc/cpuinfo has no flags here")


@pytest.fixture(scope="session")
def root():
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared():
    """The folder beside the checkout that holds real data and real runs of the built-in."""
    folder = ROOT.parent / "shared"
    if not (folder / "reference_runs").is_dir():
        pytest.skip("../shared is absent: real data, and runs of the built-in, that are not ours to redistribute")
    return folder


def pytest_make_parametrize_id(val, argname):
    """Name long bytes by their argument alone: xdist wants the same names of every process, and gzip writes the time,
    which changes even the length of what holds it."""
    return f"{argname} of bytes" if isinstance(val, bytes) and len(val) > 16 else None
