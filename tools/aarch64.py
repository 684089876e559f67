"""Build and test the wheels for 64-bit ARM on x86-64: `make wheel-arm`, `make test-arm`.

usage: python tools/aarch64.py build DIST ROOT
       python tools/aarch64.py test DIST ROOT

ROOT gets Debian's Python for arm64, extracted from its packages and not installed. GCC's cross compiler
(gcc-aarch64-linux-gnu) builds against its headers and settings, and qemu (qemu-user-static) runs it. `build` writes the
library's wheel, to which auditwheel adds libgomp, and that of `container`; `make image-arm` builds an image from both.
`test` runs the kernels' tests: on this processor, the vectors of simd.h are NEON registers, compared with the NumPy
reference. A test that starts Python starts it in the emulator too; programs of this machine run natively.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from wheels import copy_sources, environment, only, pip, run, try_foreign

ROOT = Path(__file__).resolve().parents[1]
TRIPLET = "aarch64-linux-gnu"
COMPILER = f"{TRIPLET}-gcc"
EMULATOR = "qemu-aarch64-static"

#: Python 3.11, and what it and NumPy are linked to.
PACKAGES = [
    "python3.11",
    "python3.11-minimal",
    "libpython3.11",
    "libpython3.11-dev",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libbz2-1.0",
    "libc6",
    "libcrypt1",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "libgomp1",
    "liblzma5",
    "libsqlite3-0",
    "libssl3",
    "libstdc++6",
    "libuuid1",
    "zlib1g",
]
SETTINGS = f"_sysconfigdata__{TRIPLET}"
#: Of packages for glibc that old, or older.
PLATFORMS = [f"manylinux_{glibc}_aarch64" for glibc in ("2_17", "2_27", "2_28", "2_34")]
#: A test of the reference alone takes the emulator half an hour.
LEFT_OUT = "the_references_gradient"
#: What tests know as sys.executable. The kernel of this machine cannot run a program for arm64 unless it has been told
#: how (binfmt_misc, by root), but runs this. PYTHONHOME: Python would look for its library beside this script.
LAUNCHER = """#!/bin/sh
exec {emulator} -L {root} -0 "$0" -E PYTHONHOME={root}/usr -E PYTHONPATH={site}"${{PYTHONPATH:+:$PYTHONPATH}}" \\
    {root}/usr/bin/python3.11 "$@"
"""


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("verb", choices=("build", "test"))
    parser.add_argument("dist", type=Path)
    parser.add_argument("root", type=Path)
    given = parser.parse_args()
    missing = [program for program in (COMPILER, EMULATOR, "apt-get", "dpkg") if shutil.which(program) is None]
    if missing:
        sys.exit(
            f"{', '.join(missing)} not found: apt-get install gcc-{TRIPLET} libc6-dev-arm64-cross qemu-user-static"
        )
    root = given.root.resolve()
    if not (root / "usr/bin/python3.11").exists():
        fill(root)
    return build(given.dist.resolve(), root) if given.verb == "build" else test(given.dist.resolve(), root)


def fill(root: Path) -> None:
    """Take Debian's packages apart in a folder."""
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{name}:arm64" for name in PACKAGES]
        done = subprocess.run(["apt-get", "download", "--quiet", *names], cwd=folder, check=False)
        if done.returncode:
            sys.exit("packages for arm64 were not fetched: dpkg --add-architecture arm64 && apt-get update")
        for package in Path(folder).glob("*.deb"):
            run("dpkg", "--extract", package, root)


def build(dist: Path, root: Path) -> int:
    """Leave the wheel in a folder."""
    dist.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        source, settings, raw = Path(folder, "source"), Path(folder, "settings"), Path(folder, "raw")
        own = environment(Path(folder, "build"), sys.executable, ["setuptools", "Cython", "wheel"])
        copy_sources(source)
        settings.mkdir()
        raw.mkdir()
        shutil.copy2(root / f"usr/lib/python3.11/{SETTINGS}.py", settings)
        headers = root / "usr/include"
        cross = os.environ | {
            "_PYTHON_HOST_PLATFORM": "linux-aarch64",
            "_PYTHON_SYSCONFIGDATA_NAME": SETTINGS,
            "PYTHONPATH": str(settings),
            "CC": f"{'ccache ' if shutil.which('ccache') else ''}{COMPILER}",
            "LDSHARED": f"{COMPILER} -shared -s",
            "CFLAGS": f"-I{headers}/python3.11 -I{headers}",
        }
        run(
            own, "-c", f"from setuptools import build_meta; build_meta.build_wheel({str(raw)!r})", cwd=source, env=cross
        )
        # The wheel of `container` is the same for all processors.
        pip(own, "wheel", "--no-deps", "--wheel-dir", raw, source / "container")
        for old in dist.glob("factorization_machines-*aarch64.whl"):
            old.unlink()
        for wheel in raw.iterdir():
            if wheel.name.endswith("-any.whl"):
                shutil.copy2(wheel, dist)
            else:
                libraries = f"{root}/usr/lib/{TRIPLET}:{root}/lib/{TRIPLET}"
                run(sys.executable, "-m", "auditwheel", "repair", "--ldpaths", libraries, "--wheel-dir", dist, wheel)
        for made in [*dist.glob("*-*aarch64.whl"), *dist.glob("factorization_machines_container-*.whl")]:
            print(f"{made.stat().st_size / 2**20:6.2f} MiB  {made.name}")
    return 0


def test(dist: Path, root: Path) -> int:
    """Run tests with the wheel, by the emulator."""
    wheel = only(dist, "factorization_machines-*aarch64.whl", "make wheel-arm")
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder, "python")

        def with_packages(site: Path) -> list[Path]:
            python.write_text(LAUNCHER.format(emulator=shutil.which(EMULATOR), root=root, site=site))
            python.chmod(0o755)
            return [python]

        return try_foreign(wheel, "3.11", PLATFORMS, with_packages, "--timeout", "900", "-k", f"not {LEFT_OUT}")


if __name__ == "__main__":
    sys.exit(main())
