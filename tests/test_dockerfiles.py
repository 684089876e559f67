"""Dockerfile.gpu is Dockerfile but for PyTorch; what it makes is tried by `make test-image-gpu`."""

import json
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

NAMES = ["Dockerfile", "Dockerfile.gpu"]

#: Stages by which PyTorch comes into an image; what they are is not compared.
OF_TORCH = re.compile(r"torch|wheels")


def instructions(name):
    """The instructions of each stage, by the stage's name ("" is the image), comments and line breaks left out."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / name).read_text(), flags=re.MULTILINE)
    text = re.sub(r"\s*\\\n\s*", " ", text)
    stages, current = {}, None
    for line in filter(None, map(str.strip, text.splitlines())):
        begun = re.fullmatch(r"FROM (\S+)(?: AS (\S+))?", line)
        if begun:
            current = stages.setdefault(begun[2] or "", [])
        if current is not None:  # before the first stage there are only arguments
            current.append(line)
    return stages


@pytest.fixture(params=NAMES)
def stages(request):
    return instructions(request.param)


def test_stages_but_those_of_pytorch_are_the_same():
    plain, gpu = (
        {stage: lines for stage, lines in instructions(name).items() if not OF_TORCH.match(stage)} for name in NAMES
    )
    assert list(plain) == list(gpu) == ["build", ""]
    assert plain["build"] == gpu["build"]
    of_gpu = [line for line in gpu[""] if line not in plain[""]]
    assert [line for line in gpu[""] if line in plain[""]] == plain[""]
    assert of_gpu == ["ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility"]


def test_the_image_is_the_last_stage_and_says_what_sagemaker_asks(stages):
    assert list(stages)[-1] == ""
    (labels,) = [line for line in stages[""] if line.startswith("LABEL ")]
    assert 'com.amazonaws.sagemaker.capabilities.accept-bind-to-port="true"' in labels
    assert 'com.amazonaws.sagemaker.capabilities.multi-models="true"' in labels
    words = {line.split()[0]: line.partition(" ")[2] for line in stages[""]}
    assert json.loads(words["ENTRYPOINT"]) == ["factorization-machines"]
    assert json.loads(words["CMD"]) == ["train"]
    assert words["EXPOSE"] == "8080"


@pytest.mark.parametrize("name", NAMES)
def test_one_argument_says_what_all_stages_are_based_on(name):
    text = (ROOT / name).read_text()
    stages = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert {stage for stage in stages if not stage.startswith("torch-")} == {"${BASE_IMAGE}", "scratch"}
    assert re.findall(r"^ARG BASE_IMAGE=(.*)", text, re.MULTILINE) == ["python:3.11-slim-bookworm"]
    assert 'org.opencontainers.image.base.name="${BASE_IMAGE}"' in text


def test_arguments_that_differ_in_each_build_come_after_all_that_is_installed(stages):
    """An argument's value is part of the key of every RUN below it: CREATED would have all installed again."""
    words = [line.split()[0] for line in stages[""]]
    assert "ARG" in words
    assert words.index("ARG") > max(i for i, word in enumerate(words) if word in ("RUN", "COPY"))


@pytest.mark.parametrize("build", ["+cu126", ""])
def test_pytorch_for_gpus_is_the_version_that_is_pinned(build):
    (install,) = [line for line in instructions("Dockerfile.gpu")["torch"] if line.startswith("RUN")]
    script = re.search(r"torch=\$\(sed -n \"(.*?)\" /constraints.txt\)", install)[1]
    found = subprocess.run(
        ["sed", "-n", script.replace("$build", build), ROOT / "constraints.txt"], capture_output=True, text=True
    )
    assert re.fullmatch(rf"torch==\d+\.\d+\.\d+{re.escape(build)}\n", found.stdout)
    assert '"$torch"' in install


def test_no_syntax_line_and_nothing_that_hadolint_finds():
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent)
    for name in NAMES:
        assert "# syntax" not in (ROOT / name).read_text()
        if hadolint:
            done = subprocess.run([hadolint, ROOT / name], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout


PINNED = {"requirements-build.txt": ("Cython", "setuptools", "wheel"), "requirements-image.txt": ()}


def _pins(name):
    """Give the version and the number of hashes of each package in a file of requirements."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return {
        pin.partition("==")[0]: (pin.partition("==")[2], sum(word.startswith("--hash=sha256:") for word in hashes))
        for pin, *hashes in lines
    }


def _needed(requirements, extras=()):
    """What distributions need, and what that needs, among what is installed here."""
    found, asked = {}, [(each, ()) for each in requirements]
    asked += [("factorization-machines", tuple(extras)), ("factorization-machines-container", ())] if extras else []
    while asked:
        name, of = asked.pop()
        name = canonicalize_name(name)
        if (name, of) in found:
            continue
        found[name, of] = None
        for text in metadata.requires(name) or []:
            further = Requirement(text)
            marker = further.marker
            where = {"python_version": "3.11", "python_full_version": "3.11.9", "sys_platform": "linux"}
            if marker is None or any(marker.evaluate(where | {"extra": extra}) for extra in (*of, "")):
                asked.append((further.name, tuple(further.extras)))
    return {name for name, _ in found if not name.startswith("factorization-machines")}


@pytest.mark.parametrize("name", PINNED)
def test_what_the_images_install_has_hashes_and_the_versions_that_are_pinned(name):
    lines = (ROOT / "constraints.txt").read_text().split()
    pinned = {canonicalize_name(pin.partition("==")[0]): pin.partition("==")[2] for pin in lines if "==" in pin}
    pins = _pins(name)
    for package, (version, n_hashes) in pins.items():
        assert version == pinned[package], f"{name}: {package}: make image-hashes"
        assert n_hashes > 0
    assert set(pins) == _needed(PINNED[name], () if PINNED[name] else ("parquet",)), "make image-hashes"


def test_every_installation_of_packages_asks_for_hashes_or_for_no_index(stages):
    of_others = [line for stage, lines in stages.items() if not OF_TORCH.match(stage) for line in lines]
    installs = [part for line in of_others for part in line.split("&&") if "pip install" in part]
    assert installs
    assert all("--require-hashes" in part or ("--no-index" in part and "--no-deps" in part) for part in installs)
