"""Write what an image contains: a bill of materials in CycloneDX, and a list of licences.

usage: python tools/bill.py IMAGE FOLDER
       python tools/bill.py --packages DIST

FOLDER gets sbom.cdx.json and licences.txt. The tool runs the image without a network, and reads its Python packages
from their metadata and Debian's from dpkg. DIST gets bill.json: this project's wheels in it, and their dependencies at
the pinned versions.
"""

import email
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

NAME = "factorization-machines"
ROOT = Path(__file__).resolve().parents[1]

#: Runs in the image, whose Python knows nothing but its own library.
LIST_PACKAGES = """
import importlib.metadata as metadata, json, platform
found = [{"name": "python", "version": platform.python_version(), "expression": "PSF-2.0"}]
for package in metadata.distributions():
    said = package.metadata
    found.append({
        "name": said["Name"], "version": said["Version"], "expression": said["License-Expression"],
        "text": said["License"], "classifiers": said.get_all("Classifier", []),
    })
print(json.dumps(found))
"""
PACKAGES = ("python", "-c", LIST_PACKAGES)
DEBIAN = "${Package}\t${Version}\t${Architecture}\n"
COPYRIGHT = "/usr/share/doc/{}/copyright in the image"


def main() -> None:
    """Ask the image, and write both files."""
    if sys.argv[1] == "--packages":
        write_bill_of_packages(Path(sys.argv[2]))
        return
    image, folder = sys.argv[1], Path(sys.argv[2])
    python = [(each["name"], each["version"], licence_of(each)) for each in json.loads(ask(image, *PACKAGES))]
    python.sort(key=lambda package: package[0].lower())
    debian = [line.split("\t") for line in ask(image, "dpkg-query", "--show", "--showformat", DEBIAN).splitlines()]

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sbom.cdx.json").write_text(bill_of(python, debian) + "\n")
    rows = [*python, *((name, version, COPYRIGHT.format(name)) for name, version, _ in debian)]
    (folder / "licences.txt").write_text("".join("\t".join(row) + "\n" for row in rows))
    print(f"{folder}: sbom.cdx.json and licences.txt of {len(python)} Python packages and {len(debian)} of Debian")


def write_bill_of_packages(dist: Path) -> None:
    """Write what the wheels of a folder are and need; licences are told of this project's own alone."""
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text().lower(), re.MULTILINE))
    packages = {}
    for wheel in sorted(dist.glob("factorization_machines*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
            said = email.message_from_bytes(archive.read(name))
        packages[said["Name"]] = (said["Version"], said["License-Expression"])
        for needed in said.get_all("Requires-Dist", []):
            required = re.match(r"[\w.-]+", needed)[0].lower()
            if required in pins and "extra ==" not in needed:
                packages.setdefault(required, (pins[required], "unknown"))
    (dist / "bill.json").write_text(bill_of([(name, *rest) for name, rest in packages.items()], []) + "\n")
    print(f"{dist}/bill.json: {len(packages)} packages")


def bill_of(python: list[tuple[str, str, str]], debian: list[list[str]]) -> str:
    """Write the bill: Python packages by name, version and licence, Debian's by name, version and architecture."""
    make = LicenseFactory()
    bom = Bom()
    version = next(version for name, version, _ in python if name == NAME)
    bom.metadata.component = Component(name=NAME, version=version, type=ComponentType.CONTAINER)
    for name, version, licence in python:
        address = PackageURL("generic" if name == "python" else "pypi", None, name, version)
        licences = [make.make_from_string(licence)]
        bom.components.add(Component(name=name, version=version, licenses=licences, purl=address, bom_ref=str(address)))
    for name, version, architecture in debian:
        address = PackageURL("deb", "debian", name, version, {"arch": architecture})
        bom.components.add(Component(name=name, version=version, purl=address, bom_ref=str(address)))
    bom.register_dependency(bom.metadata.component, bom.components)
    return JsonV1Dot6(bom).output_as_string(indent=2)


def ask(image: str, program: str, *arguments: str) -> str:
    """Run a program of the image, and give what it prints."""
    command = ["docker", "run", "--rm", "--network", "none", "--entrypoint", program, image, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def licence_of(package: dict[str, Any]) -> str:
    """Name the licence of a Python package: by its expression, or else its classifiers, or else its first words."""
    if package["expression"]:
        return str(package["expression"])
    named = [each.rpartition(" :: ")[2] for each in package["classifiers"] if each.startswith("License ::")]
    if named:
        return " and ".join(named)
    return str(package["text"] or "unknown").strip().splitlines()[0][:80]


if __name__ == "__main__":
    main()
