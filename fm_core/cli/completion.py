"""Completion of command lines, by argcomplete (the extra `completion`).

In bash: ``eval "$(register-python-argcomplete fm)"``. The shell then runs `fm` with the line so far in its environment.
"""

import argparse
import contextlib
import os

__all__ = ["complete", "words"]


def words() -> list[str] | None:
    """Return the arguments of the line to complete; None: there is no such line."""
    if "_ARGCOMPLETE" not in os.environ:
        return None
    return os.environ.get("COMP_LINE", "").split()[1:]


def complete(parser: argparse.ArgumentParser) -> None:
    """Tell the shell what may follow, and end the process; without argcomplete, nothing happens."""
    with contextlib.suppress(ImportError):
        import argcomplete

        argcomplete.autocomplete(parser)
