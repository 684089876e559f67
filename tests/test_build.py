"""How the extensions are built: by `make`, no more often than needed, and with what setup.py makes of Cython's C."""

import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.conftest import ROOT

KERNELS = ["minibatch", "bayes", "online", "variational"]


@pytest.fixture
def checkout(tmp_path):
    """What `make` looks at, as if the project had just been installed in .venv."""
    for name in ("Makefile", "setup.py", "pyproject.toml", "constraints.txt", "container/pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "fm_core").mkdir()
    shutil.copy(ROOT / "fm_core/__init__.py", tmp_path / "fm_core")
    for name in ("pyproject.toml", "container/pyproject.toml", "constraints.txt"):
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / ".venv").mkdir()
    for second, stamp in enumerate((".created", ".installed")):
        (tmp_path / ".venv" / stamp).touch()
        os.utime(tmp_path / ".venv" / stamp, (10 + second, 10 + second))
    return tmp_path


def would_run(checkout, *goals):
    make = ["make", "--dry-run", "--no-print-directory", *goals]
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    done = subprocess.run(make, cwd=checkout, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is absent")


@needs_make
@pytest.mark.parametrize("goal", ["develop", ".venv/.built"])
def test_the_extensions_are_compiled_once_and_not_by_the_installation(checkout, goal):
    (checkout / ".venv/.installed").unlink()
    commands = would_run(checkout, goal)
    assert commands.count("build_ext --inplace") == 1
    assert "--force" not in commands
    assert "FORCE" not in commands
    installing = re.findall(r"(?m)^.*pip .*(?:\\\n.*)*--editable.*", commands)
    assert len(installing) == 1
    assert "FM_EXTENSIONS=0" in installing[0]


@needs_make
def test_with_other_goals_develop_starts_no_second_make(checkout):
    commands = would_run(checkout, "--jobs=2", "develop", "docs")
    assert commands.count("build_ext --inplace") == 1
    assert "--jobs" not in commands
    assert "build_ext" in would_run(checkout, "docs")


def test_without_extensions_setup_knows_of_none_and_makes_no_c(tmp_path):
    shutil.copy(ROOT / "setup.py", tmp_path)
    for value, n in (("0", "0"), ("1", "not so")):
        code = "import setuptools; setuptools.setup = lambda **k: print(len(k['ext_modules'])); import setup"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"FM_EXTENSIONS": value}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert (done.stdout.strip() == n) == (value == "0"), done.stderr


@needs_make
def test_a_newer_setup_compiles_all_again(checkout):
    (checkout / ".venv/.extensions").touch()
    os.utime(checkout / ".venv/.extensions", (20, 20))
    commands = would_run(checkout, ".venv/.built")
    assert "build_ext --inplace --force" in commands
    assert "CYTHON_FORCE_REGEN=1" in commands


@needs_make
def test_what_is_built_is_not_built_again(checkout):
    now = 2**31
    for second, stamp in enumerate((".extensions", ".built")):
        (checkout / ".venv" / stamp).touch()
        os.utime(checkout / ".venv" / stamp, (now + second, now + second))
    assert "build_ext" not in would_run(checkout, "develop")
    assert "pip" not in would_run(checkout, "develop")


def test_every_name_of_the_makefile_has_one_meaning():
    """With `?=` the first of two defaults holds for both."""
    names = re.findall(r"(?m)^([A-Z_]+) [?:]?=", (ROOT / "Makefile").read_text())
    assert names
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("text", KERNELS)
def test_kernels_inline_their_own_functions_always_and_cythons_at_gccs_discretion(text):
    file = ROOT / f"fm_core/kernels/_{text}_generic.c"
    if not file.exists():
        pytest.skip("nothing is compiled here")
    inline = re.findall(r"(?m)^static CYTHON_INLINE .*", file.read_text())
    assert any("__Pyx" in line for line in inline)
    assert [line for line in inline if re.search(rf"__pyx_f_7fm_core_7kernels_\d+_{text}", line)] == []
    assert "static OWN_INLINE " in file.read_text()


@pytest.mark.parametrize("header", sorted((ROOT / "fm_core").rglob("*.h")), ids=lambda header: header.name)
def test_only_simd_uses_what_gcc_alone_knows(header):
    """Clang has no __builtin_shuffle: SHUFFLE is either's."""
    assert ("__builtin_shuffle(" in header.read_text()) == (header.name == "simd.h")


@pytest.mark.skipif(shutil.which("clang") is None, reason="clang is absent")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the builds for newer instructions are for x86-64")
@pytest.mark.parametrize("flags", [[], ["-mavx2", "-mfma"], ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"]])
def test_clang_takes_the_kernels_headers(flags, tmp_path):
    file = tmp_path / "all.c"
    names = ("simd.h", "simd_double.h", "bayes_eight.h", "draw.h", "polya_gamma.h", "retrieval.h")
    for name in names:
        file.write_text(f'#include "{name}"\n')
        command = ["clang", "-fsyntax-only", *flags, "-w", "-I", ROOT / "fm_core/kernels", file]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("python", ["no-such-python", "false"])
def test_an_interpreter_that_does_not_start_is_named(python, tmp_path):
    command = [sys.executable, ROOT / "tools/wheels.py", "build", tmp_path / "dist", python]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        f"PYTHONS names {python}, which does not start: give interpreters that do, by path if need be\n"
    )
    assert not (tmp_path / "dist").exists()


def test_the_wheel_of_this_machine_is_taken_from_beside_those_of_others(tmp_path):
    names = [f"factorization_machines-0.1.0-cp311-cp311-{tag}.whl" for tag in (
        f"manylinux_2_34_{platform.machine()}", "manylinux_2_34_riscv64", f"musllinux_1_2_{platform.machine()}"
    )]  # fmt: skip
    for name in names:
        (tmp_path / name).touch()
    code = "import wheels, pathlib, sys; print(wheels.wheel_of(pathlib.Path(sys.argv[1]), 'cp311').name)"
    command = [sys.executable, "-c", code, tmp_path]
    done = subprocess.run(command, cwd=ROOT / "tools", capture_output=True, text=True, check=False)
    assert done.stdout.strip() == names[0], done.stderr
    (tmp_path / names[0]).unlink()
    done = subprocess.run(command, cwd=ROOT / "tools", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        f"{tmp_path} has 0 files factorization_machines-*-cp311-cp311-manylinux*_{platform.machine()}.whl, expected 1: "
        "`make wheels` makes it\n"
    )


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf is absent")
def test_a_module_of_glibc_is_not_let_into_a_wheel_for_musl(tmp_path):
    modules = sorted((ROOT / "fm_core/kernels").glob("_bounds.*.so"))
    if not modules:
        pytest.skip("nothing is compiled here")
    wheel = tmp_path / "a.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(modules[0], "_bounds.so")
    code = f"import musl, pathlib; musl.check(pathlib.Path({str(wheel)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "tools", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"_bounds\.so of a\.whl needs .*libc\.so\.6.*, expected libc\.so alone\n", done.stderr)
