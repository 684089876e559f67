"""The project's word list: phrases that only insiders understand, each with the plain one that stands in its place."""

import re
import subprocess

import pytest

from tests.conftest import ROOT

#: A phrase (a regular expression, of any case): what a stranger understands.
PLAIN = {
    r"known holes": "known vulnerabilities",
    r"the way of a (record|request)\b": "life of a record, of a request",
    r"rooms of the house": "code layout",
    r"road of a real job": "the steps of a real job",
    r"of one mind": "agree, disagree",
    r"(waits?|waited|waiting) [^.\n]{0,40}in vain": "timed out",
    r"learn\w* [^.\n]{0,30}by heart": "overfits",
    r"(does|do) not go with": "does not match, does not support",
    r"error of ours|errors of ours": "unhandled exception",
    r"without effect\b": "accepted, but ignored; has no effect",
    r"second (signal|one) changes nothing": "is ignored",
    r"none of them is silent": "every host still sends heartbeats",
    r"as few digits as read back": "the shortest digits that round-trip",
    r"add to a score is chance": "their contribution is random",
    r"pictures and answers out": "inspect and use models",
    r"say on standard error": "print to standard error",
    r"every decision is everybody's": "all decisions are collective",
    r"kernels' better half": "the fastest part of the kernels",
    r"wants to hear nothing": "no-op",
    r"give it its right type": "set ContentType to match the file",
    r"what is found out about": "what is detected",
}
KINDS = (".md", ".py", ".pyx", ".pxi", ".pyi", ".h", ".ipynb", ".toml", ".sh")


def texts():
    """Read the files that a person reads, but for this one and recorded output."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no checkout of git")
    for name in listed.stdout.splitlines():
        if name.endswith(KINDS) and name != "tests/test_words.py" and not name.startswith("benchmarks/results/"):
            path = ROOT / name
            if path.exists():
                yield name, path.read_text(errors="replace")


def test_no_phrase_of_insiders_is_left():
    found = [
        f"{name}, line {text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}: {PLAIN[phrase]}"
        for name, text in texts()
        for phrase in PLAIN
        for match in re.finditer(phrase, text, re.IGNORECASE)
    ]
    assert found == []
