"""`fm report`: jobs side by side, in the terminal and as a page."""

import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from fm_core.cli import main
from fm_core.report.comparison import JobFacts, compared, comparison_page, comparison_text
from tests.fm_core.report.test_page import Tags


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jobs")
    random = np.random.default_rng(0)
    lines = [f"c{i % 7},{i % 3},{int((i % 7 == 2) ^ (random.random() < 0.1))}" for i in range(900)]
    (folder / "t.csv").write_text("\n".join(["city,kind,y", *lines]) + "\n")
    for name, epochs in (("a", "9"), ("b.tar.gz", "4")):
        given = ["--epochs", epochs, "--quiet", "--no-report", "--num-threads", "1", "--label", "y"]
        assert main(["train", str(folder / "t.csv"), "--out", str(folder / name), *given]) == 0
    return folder


def test_two_jobs_are_side_by_side(jobs, tmp_path, capsys):
    given = [str(jobs / "a"), str(jobs / "b.tar.gz"), "--html", str(tmp_path / "c.html")]
    assert main(["report", *given]) == 0
    said = capsys.readouterr().out
    held_out = json.loads((jobs / "a/metrics.json").read_text())["held_out"]
    (line,) = [line for line in said.splitlines() if "held out: cross entropy" in line]
    assert f"{held_out['cross_entropy']['model']:.5g}" in line
    assert line.count("*") == 1
    assert [line.split() for line in said.splitlines() if line.startswith("  epochs ")] == [["epochs", "9", "4"]] * 2
    text = (tmp_path / "c.html").read_text()
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert {"script", "img"}.isdisjoint(tag for tag, _ in tags.seen)
    assert "What columns matter: a" in text
    assert "city" in text
    # of metrics.json alone the hyperparameters are not known
    assert main(["report", str(jobs / "a/metrics.json"), str(jobs / "b.tar.gz")]) == 0
    assert "held out: AUC" in capsys.readouterr().out


ATTACK = '#quality_metric: host=algo-1, test rmse <loss>=0\n\x1b[2J\u202e"><script>1</script><img src=x>'


def attacked(document):
    """A copy of a document for each name, and each text or number in it, with the attack there."""
    places = []

    def find(value, path):
        if isinstance(value, dict):
            places.append((*path, None))
        if isinstance(value, dict | list):
            for key in value if isinstance(value, dict) else range(min(len(value), 2)):
                find(value[key], (*path, key))
        else:
            places.append(path)

    find(document, ())
    for *path, last in places:
        copy = json.loads(json.dumps(document))
        inner = copy
        for key in path:
            inner = inner[key]
        if last is not None:
            inner[last] = ATTACK
        else:  # another name, for what one of the others stands for
            inner[ATTACK] = next(iter(inner.values()), ATTACK)
        yield (*path, last), copy


def test_no_text_of_metrics_json_is_markup_or_an_escape(jobs, tmp_path, capsys):
    document = json.loads((jobs / "a/metrics.json").read_text())
    places = list(attacked(document))
    assert len(places) > 30
    for place, copy in places:
        (tmp_path / "metrics.json").write_text(json.dumps(copy))
        assert (
            main(["report", str(tmp_path / "metrics.json"), str(jobs / "a"), "--html", str(tmp_path / "c.html")]) == 0
        )
        shown, page = capsys.readouterr().out, (tmp_path / "c.html").read_text()
        assert all(line.isprintable() for line in shown.splitlines()), place
        assert "<script>1" not in page, place
        assert "<img" not in page, place
        assert not [found for found in ("#quality_metric", "\x1b", "\u202e") if found in shown + page], place


def test_what_is_no_job_is_said_in_a_sentence(jobs, tmp_path, capsys):
    (tmp_path / "x.json").write_text("[1, 2")
    (tmp_path / "y.json").write_text('{"epochs": 3}')
    for path, sentence in (
        (tmp_path / "none", "there is no such file or folder"), (tmp_path, "holds no metrics.json of a job"),
        (tmp_path / "x.json", "is not JSON"), (tmp_path / "y.json", "holds no metrics.json of a job"),
        (jobs / "t.csv", "holds no metrics.json of a job"),
    ):  # fmt: skip
        assert main(["report", str(jobs / "a"), str(path), "--html", str(tmp_path / "c.html")]) == 1
        said = capsys.readouterr().err
        assert sentence in said
        assert said.count("\n") == 1
        assert not (tmp_path / "c.html").exists()
    assert main(["report", *[str(jobs / "a")] * 7]) == 1
    assert "there are 7 jobs, expected at most 6" in capsys.readouterr().err


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(10**400), 10**400) | st.text(max_size=5),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each, max_size=3), max_leaves=8,
)  # fmt: skip
DOCUMENT = st.fixed_dictionaries(
    {"epochs": st.lists(st.fixed_dictionaries({"train": st.dictionaries(st.just("mse"), JSON)}) | JSON, max_size=3)},
    optional=dict.fromkeys(("held_out", "test", "rows", "findings", "importances", "seconds"), JSON),
)


@given(documents=st.lists(DOCUMENT, min_size=1, max_size=3))
@settings(max_examples=100, deadline=None)
def test_whatever_metrics_json_holds_is_compared(documents):
    jobs = [JobFacts(f"j{i}", document) for i, document in enumerate(documents)]
    assert comparison_text(jobs)
    tags = Tags()
    tags.feed(comparison_page(jobs))
    assert tags.open == []


def test_the_better_one_is_marked_where_one_is_better():
    documents = [
        {"epochs": [], "held_out": {"rmse": {"model": a}, "r2": {"model": b}}} for a, b in ((1.0, 0.5), (2.0, 0.7))
    ]
    best = {row.name: row.best for row in compared([JobFacts(str(i), each) for i, each in enumerate(documents)])}
    assert best["held out: root mean squared error"] == 0
    assert best["held out: R2"] == 1
    assert best["epochs"] is None
