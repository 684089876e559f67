"""Write what the images install, with hashes of files: `make image-hashes`, after a pin of constraints.txt has changed.

usage: python tools/hashes.py

pip downloads the files of Python 3.11 for both processor types of SageMaker from this machine's index, and builds
nothing. requirements-build.txt lists what builds the project's wheels, requirements-image.txt what they need. PyTorch
is not among them: its builds come from an index of their own.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
BUILD = ["Cython", "setuptools", "wheel"]
#: The extras of the library that are in the images.
EXTRAS = ["parquet"]
GLIBC = ["2_36", "2_28", "2_27", "2_24", "2_17", "2_5"]
HEADER = "# Made by `make image-hashes` of constraints.txt: what the images install, and the hashes of its files.\n"


def main() -> None:
    """Write both files."""
    library, container = (
        (ROOT / name).read_text().partition("\ndependencies = [")[2].partition("\n]")[0]
        for name in ("pyproject.toml", "container/pyproject.toml")
    )
    optional = (ROOT / "pyproject.toml").read_text()
    extras = [re.search(rf"^{extra} = \[(.*)\]$", optional, re.MULTILINE)[1] for extra in EXTRAS]  # type: ignore[index]
    wanted = [
        name
        for name in re.findall(r'"([A-Za-z0-9_-]+)[^"]*"', "".join([library, container, *extras]))
        if name != "factorization-machines"
    ]
    for path, names in ((ROOT / "requirements-build.txt", BUILD), (ROOT / "requirements-image.txt", wanted)):
        path.write_text(HEADER + "".join(f"{line}\n" for line in hashed(names)))


def hashed(names: list[str]) -> list[str]:
    """Give a requirement with hashes for each of the packages and what they need."""
    with tempfile.TemporaryDirectory() as folder:
        for processor in ("x86_64", "aarch64"):
            platforms = [f"--platform=manylinux_{version}_{processor}" for version in GLIBC]
            platforms += [f"--platform=manylinux2014_{processor}", f"--platform=manylinux1_{processor}"]
            subprocess.run(
                [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--dest", folder,
                 "--only-binary=:all:", "--python-version=3.11", "--implementation=cp", "--abi=cp311", "--abi=abi3",
                 "--abi=none", *platforms, "--constraint", CONSTRAINTS, *names],
                check=True,
            )  # fmt: skip
        files: dict[str, set[str]] = {}
        for path in Path(folder).iterdir():
            name, version = path.name.split("-")[:2]
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            files.setdefault(f"{name.lower().replace('_', '-')}=={version}", set()).add(digest)
    return [
        " \\\n".join([f"{pin}", *(f"    --hash=sha256:{digest}" for digest in sorted(files[pin]))])
        for pin in sorted(files)
    ]


if __name__ == "__main__":
    main()
