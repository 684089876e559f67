"""Run the notebooks of this folder, and keep their output: `make notebooks`.

Each notebook runs from top to bottom in an empty folder, as a process of its own, and gets its new outputs only if
every cell succeeded. A digest of its cells is stored next to it; a test uses it to detect a notebook that was changed
but not run. Needs examples/requirements.txt.
"""

import argparse
import hashlib
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parent
ROOT = EXAMPLES.parent


def digest(cells: list[dict]) -> str:
    """Give the digest of a notebook's cells; tests/examples/test_notebooks.py computes it too."""
    return hashlib.sha256("\0".join("".join(cell["source"]) for cell in cells).encode()).hexdigest()


def run(path: Path) -> nbformat.NotebookNode:
    """Run a notebook, and give it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": folder}}).execute()
    for cell in notebook.cells:
        cell.metadata.clear()  # when each cell ran is nobody's business
        for output in cell.get("outputs", []):
            if "text" in output:
                output.text = output.text.replace(str(ROOT), "...").replace(folder, "...")
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "cells_sha256": digest(notebook.cells),
    }
    return notebook


def main() -> None:
    """Run them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="notebooks to run (default: all of this folder)")
    parser.add_argument("--check", action="store_true", help="run the notebooks, but write nothing")
    arguments = parser.parse_args()
    # The kernel finds the project and its commands as a checkout has them.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(EXAMPLES)])
    os.environ["PATH"] = os.pathsep.join([str(ROOT / ".venv/bin"), os.environ["PATH"]])
    for path in arguments.notebooks or sorted(EXAMPLES.glob("*.ipynb")):
        notebook = run(path)
        if not arguments.check:
            written = path.with_suffix(".new")
            nbformat.write(notebook, written)
            written.replace(path)
        print(f"{path.name}: {len(notebook.cells)} cells")


if __name__ == "__main__":
    sys.exit(main())
