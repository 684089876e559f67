"""The image on older processors: by the instructions in it, and by qemu where that is installed."""

import shutil

import pytest

from tests.disassembly import misplaced, newer_functions
from tests.image.conftest import docker

SITE = "/usr/local/lib/python3.11/site-packages"
#: Of 2009, without AVX; NumPy asks for no less. And of 2013, with AVX2 and without AVX-512.
MODELS = {"Nehalem": "generic", "Haswell": "avx2"}
QEMU = shutil.which("qemu-x86_64-static")


@pytest.fixture(scope="module")
def extensions(image, tmp_path_factory):
    """Copy the compiled modules out of the image."""
    if shutil.which("objdump") is None:
        pytest.skip("objdump, of binutils, is not installed")
    folder = tmp_path_factory.mktemp("image")
    name = docker("create", image).stdout.strip()
    try:
        docker("cp", f"{name}:{SITE}/fm_core", folder)
    finally:
        docker("rm", name)
    return sorted(folder.rglob("*.so"))


def test_only_what_is_named_for_newer_processors_has_their_instructions(extensions):
    """What chooses the kernels, and all else, is for any x86-64; the kernels for AVX2 have nothing of AVX-512."""
    assert {extension.name: misplaced(extension) for extension in extensions if misplaced(extension)} == {}
    newer = {extension.name.split(".")[0]: newer_functions(extension) for extension in extensions}
    assert newer["_minibatch_avx2"]["avx"]
    assert newer["_minibatch_avx512"]["avx512"]
    assert len(newer) >= 10


@pytest.mark.skipif(QEMU is None, reason="qemu-x86_64-static, of qemu-user-static, is not installed")
@pytest.mark.parametrize("model", MODELS)
def test_an_older_processor_chooses_its_kernels_and_trains(image, job, model):
    """Emulated: an instruction that the processor has not would end the process."""
    root = job(epochs="2")
    mounts = [f"{QEMU}:/qemu:ro", f"{root}:/opt/ml"]
    options = [word for mount in mounts for word in ("-v", mount)]
    python = ["--entrypoint", "/qemu", image, "-cpu", model, "/usr/local/bin/python3.11"]
    docker("run", "--rm", *options, *python, "-m", "container.entrypoint", "train")
    assert (root / "model/model_algo-1").stat().st_size > 0
    chosen = "from fm_core.kernels import in_use; print(in_use()[0])"
    assert docker("run", "--rm", *options, *python, "-c", chosen).stdout.strip() == MODELS[model]
