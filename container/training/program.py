"""A checksum of the program on this host: hosts that train one model together must run the same program."""

import importlib.machinery
import zlib
from collections.abc import Iterable
from pathlib import Path

import container
import fm_core

__all__ = ["program_checksum", "program_files"]

#: What of a package is run: its modules, and its compiled extensions with whatever ending this Python gives them.
_ENDINGS = (*importlib.machinery.SOURCE_SUFFIXES, *importlib.machinery.EXTENSION_SUFFIXES)


def program_files(package: Path) -> list[Path]:
    """Every module and extension in a package's folder, however deep, by path."""
    return sorted(path for path in package.rglob("*") if path.name.endswith(_ENDINGS) and path.is_file())


def program_checksum(packages: Iterable[Path] | None = None) -> str:
    """CRC-32 of the names and bytes of every module and extension.

    Parameters
    ----------
    packages : iterable of Path, optional
        The folders of the packages; by default those of this project.
    """
    if packages is None:
        packages = [Path(folder) for package in (fm_core, container) for folder in package.__path__]
    crc = 0
    for package in packages:
        for path in program_files(package):
            crc = zlib.crc32(path.relative_to(package.parent).as_posix().encode(), crc)
            crc = zlib.crc32(path.read_bytes(), crc)
    return f"{crc:08x}"
