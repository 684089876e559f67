"""`fm train --weight`: a column of weights is as many rows, in the model and its figures."""

import json

import numpy as np
import pandas as pd
import pytest

from fm_core.artifact.model_file import load_model
from fm_core.cli import main
from tests.fm_core.tabular.test_train_command import said

QUIET = ["--num-threads", "1", "--no-report", "--holdout", "0", "--quiet"]


def table(n=240, seed=0):
    """Rows of a category and a number, weights that are integers, and a label."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"city": rng.choice(["oslo", "rome", "lima"], n), "n": rng.integers(0, 9, n)})
    odds = 1 / (1 + np.exp(-(frame.n / 3 - 2 + (frame.city == "rome"))))
    return frame.assign(w=rng.integers(0, 4, n), y=np.where(rng.random(n) < odds, "yes", "no"))


def trained(frame, out, *arguments):
    frame.to_csv(out.with_suffix(".csv"), index=False)
    assert main(["train", str(out.with_suffix(".csv")), "--label", "y", "--out", str(out), *QUIET, *arguments]) == 0
    return out


@pytest.fixture(scope="module")
def weighted(tmp_path_factory):
    out = tmp_path_factory.mktemp("weighted") / "m"
    # categories and bins are those of all rows, whatever they weigh: so each has some
    return trained(table(), out, "--weight", "w", "--set", "_bayes_method=variational", "--categorical", "n")


def test_weights_are_as_many_rows(weighted, tmp_path, capfd):
    frame = table()
    arguments = ["--set", "_bayes_method=variational", "--categorical", "n"]
    repeated = trained(frame.loc[frame.index.repeat(frame.w)].drop(columns="w"), tmp_path / "r", *arguments)
    schema = json.loads((weighted / "schema.json").read_text())
    assert schema["weight"] == "w"
    assert "w" not in [column["name"] for column in schema["columns"]]
    told, expected = (json.loads((out / "metrics.json").read_text()) for out in (weighted, repeated))
    assert told["label_mean"] == pytest.approx(expected["label_mean"])
    for name, figure in told["learned"].items():
        assert figure["model"] == pytest.approx(expected["learned"][name]["model"], abs=0.01)
    capfd.readouterr()
    found = json.loads(said(capfd, "evaluate", weighted, weighted.with_suffix(".csv"), "--json")[1])
    plain = json.loads(said(capfd, "evaluate", weighted, repeated.with_suffix(".csv"), "--json")[1])
    for name, figure in found.items():
        if name != "rows":
            assert figure == pytest.approx(plain[name])


def test_a_class_may_count_more(tmp_path):
    frame = table().drop(columns="w")
    means = [
        load_model(trained(frame, tmp_path / f"m{weight}", "--positive-class-weight", weight, "--epochs", "20")).w0
        for weight in ("1", "9", "balanced")
    ]
    assert means[1] > means[0] + 1
    share = float((frame.y == "yes").mean())
    assert (means[2] > means[0]) == (share < 0.5)


@pytest.mark.parametrize(
    ("change", "arguments", "expected"),
    [
        (
            {"w": -1},
            ["--weight", "w"],
            "line 2, column 'w': the weight is '-1', expected a finite number of at least 0",
        ),
        ({"w": "much"}, ["--weight", "w"], "the weight is 'much'"),
        ({"w": 0}, ["--weight", "w"], "every training row has weight 0, expected some above 0"),
        ({}, ["--weight", "v"], "no column 'v'"),
        ({}, ["--weight", "y"], "is declared label and weight, expected one of them"),
        ({"y": 3.5}, ["--positive-class-weight", "balanced"], "the label is 3.5 in every training row"),
        ({"y": range(240)}, ["--positive-class-weight", "balanced"], "balanced, but the label is a number"),
        ({"y": range(240)}, ["--positive-class-weight", "2"], "predictor_type is regressor, but positive_class_weight"),
    ],
)
def test_what_is_no_weight_is_refused(tmp_path, capfd, change, arguments, expected):
    table().assign(**change).to_csv(tmp_path / "t.csv", index=False)
    status, _, err = said(
        capfd, "train", tmp_path / "t.csv", "--label", "y", "--out", tmp_path / "m", *QUIET, *arguments
    )
    assert status == 1
    assert expected in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "m").exists()


def test_libsvm_has_weights_itself(tmp_path, capfd):
    lines = [f"{i * i % 7 % 2}:{i % 3} {i % 2}:1 {2 + i % 5}:1" for i in range(120)]
    (tmp_path / "rows.libsvm").write_text("\n".join(lines) + "\n")
    plain = [line.replace(":", " ", 1).split(" ", 2) for line in lines for _ in range(int(line[2]))]
    (tmp_path / "plain.libsvm").write_text("".join(f"{label} {rest}\n" for label, _, rest in plain))
    models = []
    for name in ("rows", "plain"):
        out = tmp_path / name
        arguments = ["train", tmp_path / f"{name}.libsvm", "--out", out, *QUIET, "--set", "_bayes_method=variational"]
        assert said(capfd, *arguments)[0] == 0
        models.append(load_model(out))
    np.testing.assert_allclose(models[0].w, models[1].w, atol=2e-2)
    status, _, err = said(capfd, "train", tmp_path / "rows.libsvm", "--out", tmp_path / "m", "--weight", "w")
    assert status == 1
    assert "libsvm has no named columns: leave out --weight" in err
