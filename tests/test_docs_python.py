"""The Python of the docs runs as it stands there, top to bottom."""

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

#: Page: what its code needs beside the project.
PAGES = {"docs/how-to/python.md": ["sklearn"]}


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs(page, tmp_path):
    for package in PAGES[page]:
        pytest.importorskip(package)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(blocks)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
