"""The image on older processors: by the instructions in it, and by qemu where that is installed."""

import re
import shutil
import subprocess

import pytest

from tests.image.conftest import docker

SITE = "/usr/local/lib/python3.11/site-packages"
#: Registers, and masks, that a processor has only with the instructions that its name, if any, stands for.
AVX2, AVX512 = "_avx2", "_avx512"
NEEDS = {"": re.compile(r"%[yz]mm|%k[0-7]\b"), AVX2: re.compile(r"%zmm|%k[0-7]\b")}
#: Of 2009, without AVX; NumPy asks for no less. And of 2013, with AVX2 and without AVX-512. What Linux says of each.
SSE = "fpu cx8 cmov mmx fxsr sse sse2 pni ssse3 cx16 sse4_1 sse4_2 popcnt lahf_lm"
MODELS = {"Nehalem": (SSE, "generic"), "Haswell": (f"{SSE} avx f16c fma avx2 bmi1 bmi2 movbe", "avx2")}
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


def test_only_the_kernels_for_newer_processors_have_their_instructions(extensions):
    """What chooses the kernels, and all else, is for any x86-64; the kernels for AVX2 have none of AVX-512."""
    seen = {"": 0, AVX2: 0, AVX512: 0}
    for extension in extensions:
        stem = extension.name.split(".")[0]
        kind = stem if stem in (AVX2, AVX512) else ""
        seen[kind] += 1
        listing = subprocess.run(["objdump", "-d", extension], check=True, capture_output=True, text=True).stdout
        newest = [line for line in listing.splitlines() if re.search(r"%[yz]mm", line)]
        assert bool(newest) == (kind != ""), extension
        if kind in NEEDS:
            assert not NEEDS[kind].search(listing), f"{extension.name}: {NEEDS[kind].search(listing)[0]}"
    assert seen[AVX2] == seen[AVX512] == 1
    assert seen[""] >= 8


@pytest.mark.skipif(QEMU is None, reason="qemu-x86_64-static, of qemu-user-static, is not installed")
@pytest.mark.parametrize("model", MODELS)
def test_an_older_processor_chooses_its_kernels_and_trains(image, job, tmp_path, model):
    """Emulated: an instruction that the processor has not would end the process."""
    flags, kernels = MODELS[model]
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    root = job(epochs="2")
    mounts = [f"{QEMU}:/qemu:ro", f"{tmp_path}/cpuinfo:/proc/cpuinfo:ro", f"{root}:/opt/ml"]
    options = [word for mount in mounts for word in ("-v", mount)]
    python = ["--entrypoint", "/qemu", image, "-cpu", model, "/usr/local/bin/python3.11"]
    docker("run", "--rm", *options, *python, "-m", "container.entrypoint", "train")
    assert (root / "model/model_algo-1").stat().st_size > 0
    chosen = "from fm_core.kernels import in_use; print(in_use()[0])"
    assert docker("run", "--rm", *options, *python, "-c", chosen).stdout.strip() == kernels
