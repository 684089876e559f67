"""The program's version, and the git revision that it was built from."""

import functools
from pathlib import Path

from fm_core import __version__

__all__ = ["program_name", "revision"]


@functools.cache
def revision() -> str:
    """The git revision of this build, if the build wrote one to the file REVISION."""
    try:
        return (Path(__file__).parent / "REVISION").read_text("ascii", "replace").strip()[:40] or "unknown"
    except OSError:
        return "unknown"


def program_name() -> str:
    """Name, version and revision, as in logs and reports."""
    return f"factorization-machines {__version__} (revision {revision()})"
