"""Build the distributions, and test the wheels: `make wheels`, `make test-wheels`.

usage: python tools/wheels.py build DIST PYTHON...
       python tools/wheels.py test DIST PYTHON...

`build` writes to DIST a wheel of the library for each interpreter; the wheel of `container`, the same for all; and both
source distributions. auditwheel strips the library's wheels, adds the libraries that they need, and determines the
oldest glibc that can run them. `test` installs the wheel of each interpreter, and for the first one also what the
source distributions build, in environments of their own, and runs tests there, far from the source tree.
"""

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"

#: What both distributions are made from.
SOURCES = ["container", "fm_core", "MANIFEST.in", "pyproject.toml", "setup.py", "LICENSE", "NOTICE", "README.md"]
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.so", "*.c", "*.html", "*.egg-info")

#: Where each source distribution is made, below the sources, and what makes it.
SDISTS = {".": ["setup.py"], "container": ["-c", "from setuptools import setup; setup()"]}

#: Run in each environment, beside the library as it was installed: the kernels against their reference, artifacts,
#: formats and the command line, and that a model is trained and served.
TESTS = ["tests/fm_core/kernels", "tests/fm_core/artifact", "tests/fm_core/formats/recordio", "tests/fm_core/cli"]
TESTS_OF_CONTAINER = ["tests/container/serving/test_app.py", "tests/contract/test_serve_process.py"]
NEEDED_BY_TESTS = [
    "hypothesis", "pytest", "pytest-timeout", "pytest-xdist", "scikit-learn", "pandas", "polars", "pyarrow", "tqdm",
]  # fmt: skip
#: As `make test` divides them.
BY_FILES = ["-n", "2", "--dist", "loadfile"]
TAKEN = ["tests", "pyproject.toml", "docs"]

#: Of a wheel for another processor or C library: the kernels in full, and what reads and writes models and records.
FOREIGN_TESTS = ["tests/fm_core/kernels", "tests/fm_core/formats/recordio", "tests/fm_core/artifact"]
NEEDED_BY_FOREIGN_TESTS = ["numpy", "scipy", "protobuf", "orjson", "hypothesis", "pytest", "pytest-timeout"]


def main() -> int:
    """Do what the command line says; 0, or 1 if a wheel failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("verb", choices=("build", "test"))
    parser.add_argument("dist", type=Path)
    parser.add_argument("pythons", nargs="+", metavar="PYTHON")
    given = parser.parse_args()
    for python in given.pythons:
        if not runs(python):
            sys.exit(f"PYTHONS names {python}, which does not start: give interpreters that do, by path if need be")
    dist = given.dist.resolve()
    dist.mkdir(parents=True, exist_ok=True)
    try:
        return build(dist, given.pythons) if given.verb == "build" else test(dist, given.pythons)
    except subprocess.CalledProcessError as error:
        sys.exit(f"exit status {error.returncode} of {shlex.join(error.cmd)}, which has said why above")


def build(dist: Path, pythons: Sequence[str]) -> int:
    """Leave wheels and source distributions in a folder."""
    with tempfile.TemporaryDirectory() as folder:
        source, raw = Path(folder, "source"), Path(folder, "raw")
        copy_sources(source)
        for old in [*dist.glob("factorization_machines*")]:
            old.unlink()
        pip(pythons[0], "wheel", "--no-deps", "--wheel-dir", dist, source / "container")
        own = environment(Path(folder, "sdist"), pythons[0], ["setuptools", "Cython", "wheel"])
        for project, program in SDISTS.items():
            run(own, *program, "--quiet", "sdist", "--dist-dir", dist, cwd=source / project)
        for python in pythons:
            shutil.rmtree(raw, ignore_errors=True)
            pip(python, "wheel", "--no-deps", "--wheel-dir", raw, source)
            (wheel,) = raw.glob("*.whl")
            run(sys.executable, "-m", "auditwheel", "repair", "--strip", "--wheel-dir", dist, wheel)
    for made in sorted(dist.glob("factorization_machines*")):
        print(f"{made.stat().st_size / 2**20:6.2f} MiB  {made.name}")
    return 0


def test(dist: Path, pythons: Sequence[str]) -> int:
    """Try what `build` left, with each interpreter."""
    container = only(dist, "factorization_machines_container-*.whl", "make wheels")
    failed = []
    for i, python in enumerate(pythons):
        tag = output(python, "-c", "import sys; print('cp%d%d' % sys.version_info[:2])")
        wheel = wheel_of(dist, tag)
        if not try_in_environment(f"{wheel.name}", python, [wheel, container], [*TESTS, *TESTS_OF_CONTAINER]):
            failed.append(wheel.name)
        if i == 0:
            sources = sorted(dist.glob("factorization_machines*.tar.gz"))
            if not try_in_environment("the source distributions", python, sources, TESTS[1:2]):
                failed.append("the source distributions")
    print(f"failed: {', '.join(failed)}" if failed else "every distribution passed")
    return 1 if failed else 0


def wheel_of(dist: Path, tag: str) -> Path:
    """Give the library's wheel for an interpreter of this machine: those for others may lie beside it."""
    return only(dist, f"factorization_machines-*-{tag}-{tag}-manylinux*_{platform.machine()}.whl", "make wheels")


def only(dist: Path, pattern: str, verb: str) -> Path:
    """Give the one file of a pattern."""
    found = sorted(dist.glob(pattern))
    if len(found) != 1:
        sys.exit(f"{dist} has {len(found)} files {pattern}, expected 1: `{verb}` makes it")
    return found[0]


def try_in_environment(what: str, python: str, installed: Sequence[Path], tests: Sequence[str]) -> bool:
    """Install distributions in a new environment, and run tests and commands of it."""
    print(f"=== {what}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        own = environment(Path(folder, "environment"), python, [*installed, *NEEDED_BY_TESTS])
        work = Path(folder, "work")
        copy_tests(work)
        run(own, "-c", "import fm_core; assert 'work' not in fm_core.__file__", cwd=work)
        run(Path(own).with_name("fm"), "--version", cwd=folder)
        command = [
            own,
            "-m",
            "pytest",
            "-q",
            *BY_FILES,
            "-m",
            "not image and not slow",
            "-p",
            "no:cacheprovider",
            *tests,
        ]
        return subprocess.run(list(map(str, command)), cwd=work, check=False).returncode == 0


def try_foreign(
    wheel: Path,
    version: str,
    platforms: Sequence[str],
    python_with: Callable[[Path], Sequence[str | Path]],
    *options: str,
) -> int:
    """Run tests with a wheel that this machine's Python cannot load.

    Parameters
    ----------
    wheel
        The library's wheel.
    version
        The interpreter's, such as 3.11.
    platforms
        The tags of the packages that it can load.
    python_with
        Gives the command that starts the interpreter with the packages in a folder.
    *options
        Further options of pytest.
    """
    with tempfile.TemporaryDirectory() as folder:
        site, work = Path(folder, "site"), Path(folder, "work")
        named = [word for platform in platforms for word in ("--platform", platform)]
        foreign = [*named, "--python-version", version, "--only-binary", ":all:", "--target", site]
        pip(sys.executable, "install", *foreign, "--constraint", CONSTRAINTS, *NEEDED_BY_FOREIGN_TESTS)
        shutil.unpack_archive(wheel, site, "zip")
        copy_tests(work)
        command = [*python_with(site), "-m", "pytest", "-q", "-m", "not image and not slow", "-p", "no:cacheprovider"]
        return subprocess.run(list(map(str, [*command, *options, *FOREIGN_TESTS])), cwd=work, check=False).returncode


def copy_tests(work: Path) -> None:
    """Copy the tests, and what they read, to a new folder."""
    work.mkdir()
    for name in TAKEN:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy2)(ROOT / name, work / name)


def copy_sources(folder: Path) -> None:
    """Copy what the distributions are made of."""
    folder.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=LEFT_OUT)
        else:
            shutil.copy2(ROOT / name, folder / name)
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    if revision.returncode == 0:
        (folder / "container/REVISION").write_text(revision.stdout)


def environment(folder: Path, python: str, packages: Sequence[str | Path]) -> str:
    """Make an environment with some packages, and give its interpreter; one that is there is used again."""
    own = folder / "bin/python"
    if not own.exists():
        run(python, "-m", "venv", folder)
        pip(own, "install", *packages)
    return str(own)


def pip(python: str | Path, *arguments: str | Path) -> None:
    """Run an interpreter's pip, held to the pinned versions; its builds too."""
    held = os.environ | {"PIP_CONSTRAINT": str(CONSTRAINTS), "PIP_BUILD_CONSTRAINT": str(CONSTRAINTS)}
    run(python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments, env=held)


def runs(python: str) -> bool:
    """Whether an interpreter starts."""
    try:
        return subprocess.run([python, "-c", "pass"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def run(*command: str | Path, **options: object) -> None:
    """Run a command that has to succeed."""
    subprocess.run(list(map(str, command)), check=True, **options)  # type: ignore[call-overload]


def output(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
