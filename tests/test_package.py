"""The wheels: what is in them, and that their scripts run from them, far from the source tree."""

import itertools
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import fm_core
from tests.conftest import ROOT
from tests.disassembly import misplaced, newer_functions

# `build` holds what has been compiled for the checkout: what is newer than its source is not compiled again.
SOURCE = ("container", "fm_core", "MANIFEST.in", "pyproject.toml", "setup.py", "LICENSE", "NOTICE", "README.md")
LEFT_OUT = {"container": ["__pycache__"], "fm_core": ["__pycache__", "*.so"]}


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_all_that_is_ever_installed_is_pinned():
    pinned = re.findall(r"^([\w.-]+)==[\w.+]+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    named = set()
    for project in (ROOT / "pyproject.toml", ROOT / "container/pyproject.toml"):
        said = tomllib.loads(project.read_text())
        lists = [*said["project"].get("optional-dependencies", {}).values(), said["build-system"]["requires"]]
        for requirement in itertools.chain(said["project"]["dependencies"], *lists):
            named.add(re.match(r"[\w.-]+", requirement)[0])
    assert len(named) > 20
    own = {"factorization-machines", "factorization-machines-container"}
    assert {name.lower() for name in named - own} <= {name.lower() for name in pinned}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Copy what the packages are made of."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns(*LEFT_OUT[name]))
        elif (ROOT / name).exists():
            shutil.copy2(ROOT / name, source)
    for made in [*ROOT.glob("build/lib*"), *ROOT.glob("build/temp*")]:  # and not what else a verb keeps in build/
        shutil.copytree(made, source / "build" / made.name, ignore=shutil.ignore_patterns("*.py"))
    for compiled in source.glob("build/lib*/**/*.so"):  # of an extension that is no more
        module = Path(*compiled.relative_to(source).parts[2:])
        if not (source / module).with_name(module.name.split(".")[0] + ".pyx").exists():
            compiled.unlink()
    return source


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    """Build the wheel, in a copy of the checkout."""
    out = tmp_path_factory.mktemp("dist")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", str(out), str(source))
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def container_wheel(source, tmp_path_factory):
    """Build the wheel of the second distribution."""
    out = tmp_path_factory.mktemp("dist")
    (source / "container/REVISION").write_text("0123abc\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    command = [*pip, "wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", str(out)]
    run(*command, str(source / "container"))
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, container_wheel, tmp_path_factory):
    """Install both in an environment of its own, which sees the dependencies of the one that runs the tests."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, symlinks=True)
    (site,) = home.glob("lib/python3*/site-packages")
    here = Path(pytest.__file__).parents[1]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(home / "bin/python")]
    run(*pip, "install", "--no-deps", "--no-index", str(wheel), str(container_wheel))
    for package in dependencies(here):
        (site / package.name).symlink_to(package)
    return home / "bin"


def dependencies(site):
    """Everything in a site-packages folder but this project itself."""
    own = ("factorization", "fm_core", "container")
    return [
        f
        for f in site.iterdir()
        if not any(name in f.name for name in own) and f.suffix != ".pth" and f.name != "__pycache__"
    ]


@pytest.fixture
def environment(tmp_path):
    return {"PATH": os.environ["PATH"], "FM_OPT_ML": str(tmp_path / "opt_ml"), "HOME": str(tmp_path)}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_wheel_holds_modules_compiled_and_their_types_and_not_their_sources(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    compiled = {Path(name).name.split(".")[0] for name in names if name.endswith(".so")}
    sources = {f.stem for f in (ROOT / "fm_core").rglob("*.pyx")}
    assert compiled == sources | {"_cyutility"}  # what Cython shares among them
    assert {Path(name).stem for name in names if name.endswith(".pyi")} == sources
    assert "fm_core/py.typed" in names
    folders = {Path(name).parts[0] for name in names}
    assert all(folder == "fm_core" or folder.endswith(".dist-info") for folder in folders), folders
    kinds = {Path(name).suffix for name in names if ".dist-info" not in name}
    assert kinds == {".py", ".pyi", ".so", ".typed", ".proto"}  # the last for those who make classes of their own
    assert {Path(name).name for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_wheel_of_the_container_holds_its_modules_and_needs_the_library_of_its_version(container_wheel):
    with zipfile.ZipFile(container_wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA"))
    modules = {str(f.relative_to(ROOT)) for f in (ROOT / "container").rglob("*.py")}
    assert names == modules | {"container/REVISION"}
    assert f"\nVersion: {fm_core.__version__}\n" in metadata
    assert f"\nRequires-Dist: factorization-machines=={fm_core.__version__}\n" in metadata
    assert "\nLicense-File: LICENSE\nLicense-File: NOTICE\n" in metadata


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_source_distribution_holds_all_that_a_build_needs(wheel, source, tmp_path):
    # after the wheel, which leaves what Cython makes
    run(sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", str(tmp_path), cwd=source)
    (built,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        names = {str(Path(*Path(name).parts[1:])) for name in archive.getnames()}
    made = {".c", ".so", ".html", ".pyc"}
    expected = {str(f.relative_to(ROOT)) for f in (ROOT / "fm_core").rglob("*") if f.is_file() and f.suffix not in made}
    assert expected - names == set()
    assert not any(Path(name).suffix in made for name in names)


def functions(symbols):
    """Names in C; GCC may add .constprop.0 and the like to a copy's."""
    return {symbol.partition(".")[0] for symbol in symbols}


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(platform.machine() != "x86_64", reason="there are builds for newer instructions on x86-64 only")
@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump is absent")
def test_only_what_is_named_for_them_uses_newer_instructions(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        modules = [Path(archive.extract(name, tmp_path)) for name in archive.namelist() if name.endswith(".so")]
    assert {module.name: misplaced(module) for module in modules if misplaced(module)} == {}
    newer = {module.name.split(".")[0]: newer_functions(module) for module in modules}
    assert newer["_minibatch_avx2"]["avx"]
    assert newer["_minibatch_avx512"]["avx512"]
    assert functions(newer["_decode"]["avx512"]) == {"avx512_keys", "avx512_floats"}
    assert functions(newer["_draw"]["avx512"]) == {"avx512_rows"}
    assert functions(newer["_draw"]["avx"]) == {"avx2_rows"}
    assert functions(newer["_retrieval"]["avx512"]) == {"avx512_scan"}
    assert functions(newer["_retrieval"]["avx"]) == {"avx2_scan"}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_modules_come_from_the_wheel(installed, environment, tmp_path):
    code = "import fm_core, container, fm_core.kernels; print(fm_core.__file__, container.__file__)"
    for file in run(str(installed / "python"), "-c", code, cwd=tmp_path, env=environment).split():
        assert Path(file).is_relative_to(installed.parent)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("command", [["train"], ["train", "train"], ["factorization-machines"]], ids=" ".join)
def test_train_runs_from_the_wheel_and_says_what_it_misses(command, installed, environment, tmp_path):
    (tmp_path / "opt_ml/output").mkdir(parents=True)
    done = subprocess.run([installed / command[0], *command[1:]], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 1
    assert (tmp_path / "opt_ml/output/failure").read_text().startswith("ClientError: ")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("command", [["serve"], ["factorization-machines", "serve"]], ids=" ".join)
def test_serve_runs_from_the_wheel_and_does_not_start_without_a_model(command, installed, environment, tmp_path):
    (tmp_path / "opt_ml/model").mkdir(parents=True)
    done = subprocess.run(
        [installed / command[0], *command[1:]],
        cwd=tmp_path, env=environment, check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "model" in done.stdout + done.stderr
