"""The words of the project: no phrase that only insiders understand, and prose that proselint has nothing against."""

import re
import subprocess

import pytest
from proselint.checks import __register__
from proselint.config import DEFAULT
from proselint.registry import CheckRegistry
from proselint.tools import LintFile

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
    r"for want of (memory|space|files)": "for lack of",
    r"there is nothing at this address": "unknown address",
    r"nothing says (which column|which items)": "not given",
    r"(is|are) both there, expected": "exclude each other",
    r"is not what it was": "has changed",
    r"the others have given it up": "no longer wait for it",
    r"scored all but perfectly": "scored almost perfectly",
    r"which are no ids\b": "not ids",
    r"signs? of life": "heartbeat",
    r"(is|are) not of this program": "runs another program",
    r"tells? the label[^.\n]{0,5} all by": "alone determines the label",
    r"leads? out of (the|its) (model|folder)": "points outside",
    r"how far off a score": "the uncertainty of a score",
    r"(was|is) given up, for\b": "was stopped, because",
    r"does not have whole|hosts have whole": "is complete on all hosts",
    r"learned from twice": "used twice",
    r"(?<!there )is no (JSON|zip archive)\b": "is not JSON, not a zip archive",
    r"come to lie beside|comes to lie beside": "is written next to",
    r"\bwere it shared out\b": "if it were distributed",
    r"\bwho had (it|them) whole\b": "that had all of it",
    r"is to be found out of": "is learned from",
}
#: The same for pages alone: what code may say of itself in a comment.
PLAIN_IN_PAGES = {
    r"(?<!Recommender\.)\bbeside\b": "next to; compared with; in addition to",
    r"\bgo(es)? on (from|to)\b": "resumes from, continues with",
    r"\bbegins? anew\b": "starts again",
    r"\b(is|are|was) said( of| in| to|\b[.,;:])": "is logged, reported, printed",
    r"\bsaid by\b": "set by, option",
    r"\bunder way\b": "running",
    r"\bheld against\b": "checked against, compared with",
    r"\bin the midst\b": "in between",
    r"\bto be had\b": "available",
    r"\btold before(hand)?\b": "checked before",
    r"\b(is|are) asked for\b": "requested",
    r"\bof (ours|theirs)\b": "of this project, of the built-in",
    r"\bout of balance\b": "imbalanced",
    r"\bhow far off\b": "standard deviation, error",
    r"\bwhat (comes|is) of\b": "the result",
    r"\bin another way\b": "differently",
    r"\bwhere the (job|model|data) has none\b": "if there is none",
    r"\b(bears?|bore) out\b": "supports, suggests",
    r"\btold of\b": "reported, named",
    r"\bas good as an?\b": "has the same power as",
    r"\bstands? twice\b": "occurs twice, is repeated",
    r"\bnot found out\b|\bwas found out\b": "unknown; was detected",
    r"\b(has|have) to be had\b": "must be available",
    r"\bit wants\b": "it needs",
}
#: Pages of their own kind: lists of changes, recorded output.
OTHER_PAGES = ("CHANGELOG.md", "benchmarks/results/")
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


def is_page(name):
    return name.endswith(".md") and not name.startswith(OTHER_PAGES)


def test_no_phrase_of_insiders_is_left():
    found = [
        f"{name}, line {text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}: {(PLAIN | PLAIN_IN_PAGES)[phrase]}"
        for name, text in texts()
        for phrase in (PLAIN | PLAIN_IN_PAGES if is_page(name) else PLAIN)
        for match in re.finditer(phrase, text, re.IGNORECASE)
    ]
    assert found == []


#: Checks of proselint, the special ones first. Pages are Markdown, with straight quotes, and times as `date` has them.
CHECKS = {"dates_times.am_pm": False} | DEFAULT["checks"] | {"typography": False}


def faults_of(name, page):
    """Have proselint read a page of Markdown without its code, tables and headings; lines stay where they are."""
    registry = CheckRegistry()
    if not registry.checks:
        registry.register_many(__register__)
    page = re.sub(r"(?ms)^ *```.*?^ *```|^(?:\||#| {4})[^\n]*$", lambda no_prose: "\n" * no_prose[0].count("\n"), page)
    page = re.sub(r"`[^`]*`", lambda code: re.sub(r"[^\n]", "-", code[0]), page)
    return [
        f"{name}, line {fault.pos[0]}: {fault.check_result.message}"
        for fault in LintFile(name, page).lint(DEFAULT | {"checks": CHECKS})
    ]


def test_proselint_has_nothing_against_the_pages():
    found = [fault for name, text in texts() if name.endswith(".md") for fault in faults_of(name, text)]
    assert not found, "\n".join(found)


def test_proselint_would_find_something():
    assert [fault.partition(":")[0] for fault in faults_of("a.md", "```\nvery\n```\nA `very` very good page.\n")] == [
        "a.md, line 4"
    ]
