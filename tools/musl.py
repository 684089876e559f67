"""The library's wheels for musl (Alpine, x86-64), made on a machine with glibc: `make wheel-musl`, `make test-musl`.

usage: python tools/musl.py build DIST PYTHON...
       python tools/musl.py test DIST MUSL_PYTHON

musl-gcc (Debian's musl-tools and musl-dev) is GCC with musl's headers and library, so the code is that of the other
wheels; CPython's headers are the same for both. Debian has no libgomp for musl: these wheels use one thread. `build`
refuses a module that needs another library than musl, or that Python could not import. `test` runs the tests of
kernels, records and artifacts by a CPython that is linked to musl.
"""

import argparse
import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from wheels import copy_sources, environment, only, output, run, try_foreign

COMPILER = "musl-gcc"
#: musl 1.2, which is what the tag says.
PLATFORM = "musllinux_1_2_x86_64"
#: What musl's own loader takes for itself.
LIBC = "libc.so"


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("verb", choices=("build", "test"))
    parser.add_argument("dist", type=Path)
    parser.add_argument("pythons", nargs="+", metavar="PYTHON")
    given = parser.parse_args()
    if given.verb == "test":
        return test(given.dist.resolve(), given.pythons[0])
    if shutil.which(COMPILER) is None:
        sys.exit(f"{COMPILER} not found: apt-get install musl-tools musl-dev")
    given.dist.mkdir(parents=True, exist_ok=True)
    return build(given.dist.resolve(), given.pythons)


def build(dist: Path, pythons: Sequence[str]) -> int:
    """Leave a wheel for each interpreter in a folder."""
    for python in pythons:
        with tempfile.TemporaryDirectory() as folder:
            source, raw = Path(folder, "source"), Path(folder, "raw")
            own = environment(Path(folder, "build"), python, ["setuptools", "Cython", "wheel"])
            copy_sources(source)
            version = output(own, "-c", "import sys; print('%d%d' % sys.version_info[:2])")
            cross = os.environ | {
                "CC": f"{'ccache ' if shutil.which('ccache') else ''}{COMPILER}",
                "LDSHARED": f"{COMPILER} -shared -s",
                "FM_OPENMP": "0",
                "SETUPTOOLS_EXT_SUFFIX": f".cpython-{version}-x86_64-linux-musl.so",
                "_PYTHON_HOST_PLATFORM": PLATFORM,
            }
            made = f"from setuptools import build_meta; build_meta.build_wheel({str(raw)!r})"
            raw.mkdir()
            run(own, "-c", made, cwd=source, env=cross)
            (wheel,) = raw.iterdir()
            check(wheel)
            print(f"{wheel.stat().st_size / 2**20:6.2f} MiB  {Path(shutil.copy2(wheel, dist)).name}")
    return 0


def check(wheel: Path) -> None:
    """Refuse a wheel with a module that musl alone does not load, or that Python does not import."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        for name in (each for each in archive.namelist() if each.endswith(".so")):
            module = archive.extract(name, folder)
            needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", output("readelf", "--dynamic", module)))
            if needed != {LIBC}:
                sys.exit(f"{name} of {wheel.name} needs {', '.join(sorted(needed))}, expected {LIBC} alone")
            if f"PyInit_{Path(name).name.partition('.')[0]}" not in output("readelf", "--dyn-syms", "--wide", module):
                sys.exit(f"{name} of {wheel.name} exports no PyInit function")


def test(dist: Path, python: str) -> int:
    """Run tests with the wheel of an interpreter that is linked to musl."""
    version = output(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    wheel = only(dist, f"factorization_machines-*-cp{version.replace('.', '')}-*-{PLATFORM}.whl", "make wheel-musl")
    return try_foreign(wheel, version, [PLATFORM], lambda site: ["env", f"PYTHONPATH={site}", python])


if __name__ == "__main__":
    sys.exit(main())
