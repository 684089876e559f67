"""The notebooks of examples/ show what their cells give: they were run as they stand, and run now."""

import hashlib
import json
import re
import subprocess

import pytest

from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
PYTHON = ROOT / ".venvs/notebooks/bin/python"


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return json.loads(request.param.read_text())


def test_there_are_some():
    assert {path.stem for path in NOTEBOOKS} == {"explanations", "own_csv", "recommender"}


def test_a_notebook_was_run_as_it_stands(notebook):
    sources = "\0".join("".join(cell["source"]) for cell in notebook["cells"])
    digest = hashlib.sha256(sources.encode()).hexdigest()
    assert notebook["metadata"]["cells_sha256"] == digest, "run `make notebooks`"


def test_its_cells_were_run_in_order_and_none_failed(notebook):
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert kinds <= {"display_data", "execute_result", "stream"}
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell["outputs"])
    assert not [out for cell in cells for out in cell["outputs"] if out.get("name") == "stderr"]


def test_it_is_small_and_names_no_place_of_the_machine_that_ran_it(notebook):
    for path in NOTEBOOKS:
        assert path.stat().st_size < 300_000
    texts = [
        text
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
        for kind, text in [*output.get("data", {}).items(), ("text", output.get("text", ""))]
        if kind != "image/png"
    ]
    assert not re.search(r"/(home|root|work|tmp)/", json.dumps(texts))


def test_the_model_of_a_table_halves_the_cross_entropy_of_the_base_rate():
    """As the page says; a cell of it fails where a run gives another model."""
    text = (ROOT / "examples/own_csv.ipynb").read_text()
    assert "fails unless the model halves the cross entropy of the base rate" in text
    of_model, of_base_rate = map(float, re.search(r"cross entropy ([\d.]+), of the base rate ([\d.]+)", text).groups())
    assert 0 < of_model < 0.5 * of_base_rate


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(not PYTHON.exists(), reason="there is no environment for notebooks: `make notebooks` makes it")
def test_they_run():
    command = [PYTHON, ROOT / "examples/run_notebooks.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=380)
    assert done.returncode == 0, done.stderr[-3000:]
