"""docs/how-to/train.md: its commands are run from top to bottom, but for the server, which test_fm_serve.py asks."""

import os
import re
import subprocess
import sys

import pytest

from fm_core.cli import COMMANDS, main
from tests.conftest import ROOT

PAGE = (ROOT / "docs/how-to/train.md").read_text()
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_works_and_its_model_beats_the_base_rate(tmp_path):
    pytest.importorskip("pandas")
    scripts, work = tmp_path / "bin", tmp_path / "work"
    scripts.mkdir()
    work.mkdir()
    (scripts / "fm").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fm_core "$@"\n')
    (scripts / "fm").chmod(0o755)
    environment = {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    printed = []
    for language, text in BLOCKS:
        if "curl " in text:
            continue
        command = {"sh": ["sh", "-eu", "-c", text], "python": [sys.executable, "-c", text]}[language]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{text}\n{done.stderr}"
        printed.append(done.stdout)
    for line in ("left out: customer_id: another text in every row", "bought  label: no is 0, yes is 1"):
        assert line in printed[1]
        assert line in PAGE
    model, base = map(float, re.search(r"cross entropy +([0-9.]+) +([0-9.]+)", printed[2]).groups())
    assert model < 0.75 * base
    lines = (work / "scores.csv").read_text().splitlines()
    assert lines[0] == "customer_id,bought,score,predicted_class"
    assert len(lines) == 501


def test_every_option_of_the_page_exists(capsys):
    known = ""
    for command in ("train", "evaluate", "predict"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        known += capsys.readouterr().out
    assert set(re.findall(r"`(--[a-z-]+)", PAGE)) <= set(re.findall(r"--[a-z-]+", known))
    assert {"train", "evaluate", "predict"} < set(COMMANDS)
