"""How tools/compare tells a difference that is meant from one that is not."""

import io
import json
import zipfile

import pytest

from tools.compare import differences
from tools.compare.differences import Meant, difference
from tools.compare.sides import ROOT, WORK, Side, blanked

BASE = {"stdout": b"one\ntwo\nthree", "model": b"\xff\x00"}


@pytest.mark.parametrize(
    ("tree", "first"),
    [
        (BASE, None),
        (BASE | {"stdout": b"one\n2\nthree"}, "stdout: \n    @@"),
        (BASE | {"model": b"\xff\x01"}, "model: 2 and 2 bytes, from byte 1 on 00 and 01"),
        (BASE | {"more": b""}, "more: only the tree has it"),
        ({"stdout": BASE["stdout"]}, "model: only the base has it"),
    ],
)
def test_anything_that_differs_is_told(tree, first):
    found, met = difference("job: a", BASE, tree)
    assert not met
    assert found is None if first is None else "2" in found or found == first


@pytest.mark.parametrize(("case", "found"), [("job: a", None), ("fm: a", "stdout")])
def test_only_what_is_said_to_be_meant_is_let_pass(case, found, monkeypatch):
    rule = Meant("job: *", "stdout", "^(two|2)$", "because")
    monkeypatch.setattr(differences, "MEANT", [rule])
    first, met = difference(case, BASE, BASE | {"stdout": b"one\n2\nthree"})
    assert met == ([] if found else [rule])
    assert (first is None) if found is None else first.startswith(found)
    first, _ = difference("job: a", BASE, BASE | {"stdout": b"one\n2\nfour"})  # more than is meant
    assert first is not None


def test_what_no_two_runs_have_in_common_is_blanked():
    side = Side("tree", ROOT)
    line = b'[11/29/2026 13:49:23 INFO 140049260022656] Saved checkpoint to "%s/job/model"' % bytes(WORK / "run/tree")
    assert blanked(line, side) == b'[INFO] Saved checkpoint to "<folder>/job/model"'
    assert blanked(b"#throughput_metric: host=a, train throughput=1.5e3 records/second", side).endswith(
        b"throughput=R records/second"
    )
    assert blanked(b"train rmse <loss>=0.25", side) == b"train rmse <loss>=0.25"


def model(**parameters):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("meta.json", json.dumps({"training_parameters": parameters}))
        archive.writestr("params", b"\x00\xff")
    return {"model": file.getvalue()}


def test_a_model_is_compared_without_the_hyperparameters_that_came_later():
    assert difference("job: a", model(epochs="3"), model(epochs="3", solver="minibatch", loss="pointwise")) == (
        None,
        [],
    )
    first, _ = difference("job: a", model(epochs="3"), model(epochs="4", solver="minibatch"))
    assert first is not None
