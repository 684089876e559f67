"""What is in the image, and what is not."""

import json
import os
import re
import subprocess

import pytest

from tests.conftest import ROOT
from tests.image.conftest import docker

MEGABYTE = 1_000_000
BASE_IMAGE = "python:3.11-slim-bookworm"  # as both Dockerfiles name it


def inside(image, script):
    return docker("run", "--rm", "--entrypoint", "sh", image, "-c", script).stdout.split()


def test_it_is_under_1250_megabytes_and_under_650_without_pytorch(image):
    size = int(docker("image", "inspect", "--format", "{{.Size}}", image).stdout)
    assert size < 1250 * MEGABYTE
    pytorch = inside(image, "du --bytes --summarize /usr/local/lib/python3.11/site-packages/torch")
    assert size - int(pytorch[0]) < 650 * MEGABYTE


def test_pytorch_can_be_left_out(engine, tmp_path):
    """Of the stages only the one that the image's packages of PyTorch are copied from depends on the argument."""
    command = ["build", "--build-arg", "TORCH=false", "--target", "torch", "--output", tmp_path, ROOT]
    docker(*command)
    assert list((tmp_path / "torch").iterdir()) == []


def test_hosts_can_talk_through_pytorch(image):
    script = """
import torch
from container.stopping import end
from torch import distributed
distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
total = torch.ones(3)
distributed.all_reduce(total)
assert total.tolist() == [1, 1, 1]
end(0)  # as `train` does: ProcessGroup.leave says why
"""
    docker("run", "--rm", "--read-only", "--network", "none", "--entrypoint", "python", image, "-c", script)


def test_one_host_does_not_load_pytorch(image):
    script = "import sys, container.train, container.serve; assert 'torch' not in sys.modules"
    docker("run", "--rm", "--entrypoint", "python", image, "-c", script)


def test_it_starts_without_a_shell_and_trains_by_default(image):
    config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", image).stdout)
    assert config["Entrypoint"] == ["factorization-machines"]
    assert config["Cmd"] == ["train"]


def test_its_labels_say_what_sagemaker_asks_for(image):
    labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", image).stdout)
    assert labels["com.amazonaws.sagemaker.capabilities.accept-bind-to-port"] == "true"
    assert labels["com.amazonaws.sagemaker.capabilities.multi-models"] == "true"
    assert labels["org.opencontainers.image.version"] != "unknown"
    assert labels["org.opencontainers.image.base.name"] == BASE_IMAGE


def test_another_base_image_may_be_named_and_its_name_is_a_label(image):
    if "FM_IMAGE" in os.environ or docker("image", "inspect", BASE_IMAGE, check=False).returncode != 0:
        pytest.skip("the base image is not in this engine by its name, or the image tested is another build")
    given = [f"IMAGE={image}-on-another-base", "BASE_IMAGE=fm-test-base:1"]
    given += ["WHEELS=build/wheels"] if (ROOT / "build/wheels").exists() else []
    docker("tag", BASE_IMAGE, "fm-test-base:1")
    try:
        subprocess.run(["make", "image", *given], cwd=ROOT, capture_output=True, check=True)
        labels = json.loads(
            docker("image", "inspect", "--format", "{{json .Config.Labels}}", f"{image}-on-another-base").stdout
        )
    finally:
        docker("rmi", f"{image}-on-another-base", "fm-test-base:1", check=False)
    assert labels["org.opencontainers.image.base.name"] == "fm-test-base:1"
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert labels["org.opencontainers.image.revision"] == revision.stdout.strip()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", labels["org.opencontainers.image.created"])


def test_nothing_is_in_it_that_building_or_testing_needs(image):
    assert inside(image, "which gcc cc make git cython pytest || true") == []
    site = "/usr/local/lib/python3.11/site-packages"
    assert inside(image, f"find {site} -type d -name tests") == []
    assert inside(image, f"find {site}/fm_core {site}/container -name '*.pyx' -o -name '*.c' -o -name '*.px[id]'") == []
    assert inside(image, "ls -A ~/.cache /var/lib/apt/lists /wheels /src 2>/dev/null | grep -v : || true") == []


def test_nobody_but_root_may_change_a_file(image):
    assert inside(image, "find / -xdev -type f -perm -o+w -not -path '/proc/*' -not -path '/sys/*'") == []


def packages(image):
    """Name and version of every Python package in it: it has no pip to ask."""
    program = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
    listed = docker("run", "--rm", "--entrypoint", "python", image, "-c", program).stdout.split()
    assert len(listed) > 15
    return [tuple(package.split("==")) for package in listed]


def test_nothing_in_it_installs_packages(image):
    assert not {name for name, _ in packages(image)} & {"pip", "wheel"}  # setuptools is there: PyTorch needs it
    assert inside(image, "command -v pip pip3 || true") == []


def test_pytorch_is_compiled_to_bytecode(image):
    (found,) = inside(image, "ls /usr/local/lib/python3.11/site-packages/torch/__pycache__/__init__.*.pyc")
    assert found


def test_the_packages_are_those_that_are_pinned(image):
    pinned = {
        line.split("==")[0].lower().replace("_", "-"): line.split("==")[1]
        for line in (ROOT / "constraints.txt").read_text().split()
        if "==" in line
    }
    for name, version in packages(image):
        name = name.lower().replace("_", "-")
        if not name.startswith("factorization-machines"):
            assert pinned.get(name) == version.removesuffix("+cpu")  # of PyTorch


def test_its_bill_of_materials_names_what_is_in_it(image):
    bill = json.loads((ROOT / "build/image/sbom.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    named = {(each["name"], each["version"]) for each in bill["components"]}
    assert set(packages(image)) <= named
    debian = inside(image, "dpkg-query --show --showformat '${Package} '")
    assert set(debian) <= {name for name, _ in named}
    assert "libgomp1" in debian


def test_every_package_has_a_licence(image):
    rows = [row.split("\t") for row in (ROOT / "build/image/licences.txt").read_text().splitlines()]
    assert len(rows) > 100
    assert [name for name, _, licence in rows if licence in ("", "unknown")] == []


def test_no_secret_is_in_it(image):
    environment = json.loads(docker("image", "inspect", "--format", "{{json .Config.Env}}", image).stdout)
    assert not [each for each in environment if re.search(r"KEY|TOKEN|SECRET|PASSWORD", each.split("=")[0])]
    history = docker("image", "history", "--no-trunc", "--format", "{{.CreatedBy}}", image).stdout
    assert not re.search(r"(?i)(token|secret|password)=", history)
    keys = inside(
        image, "grep -rlE 'BEGIN ([A-Z]+ )?PRIVATE KEY' /etc /root /home /opt /srv /usr/local/etc 2>/dev/null || true"
    )
    assert keys == []
    names = " -o ".join(f"-name {name}" for name in (".netrc", ".pypirc", ".git", ".aws", "'id_rsa*'", "'.env*'"))
    assert inside(image, f"find / -xdev \\( {names} \\) -not -path '/proc/*'") == []
