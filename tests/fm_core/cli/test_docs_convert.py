"""Every command and every example of docs/how-to/convert.md is run, in order, in one folder."""

import os
import re
import subprocess
import sys

import pytest

from fm_core.formats.registry import FORMATS
from tests.conftest import ROOT

PAGE = (ROOT / "docs/how-to/convert.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_examples_work_and_print_what_is_shown(tmp_path):
    pytest.importorskip("pandas")
    scripts, work = tmp_path / "bin", tmp_path / "work"
    scripts.mkdir()
    work.mkdir()
    (scripts / "fm").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fm_core.cli "$@"\n')
    (scripts / "fm").chmod(0o755)
    environment = {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    printed = ""
    for language, text in BLOCKS:
        if language == "text":
            assert printed == text
            continue
        command = {"sh": ["sh", "-eu", "-c", text], "python": [sys.executable, "-c", text]}[language]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{text}\n{done.stderr}"
        printed = done.stdout
        for line, comment in re.findall(r"^(print\(.*\))  # (.*)$", text, re.MULTILINE):
            assert printed == comment + "\n", line
    assert (work / "data.train-00001-of-00002.recordio.gz").exists()


def test_every_format_and_every_suffix_is_on_the_page():
    for name, described in FORMATS.items():
        assert f"`{name}`" in PAGE
        for suffix in described.suffixes:
            assert suffix in PAGE
