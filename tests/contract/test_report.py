"""The report: what a job leaves in output/data, and that a job that wants none pays nothing."""

import io
import json
import re

import numpy as np
import pytest
import scipy.sparse

from container.version import revision
from fm_core import __version__
from fm_core.artifact.model_file import identity
from fm_core.formats import write_records
from tests.contract.training import FEATURE_DIM, Job, records


@pytest.fixture
def job(tmp_path):
    job = Job(tmp_path)
    job.put("data.pbr", records())
    return job


def files(job):
    return sorted(file.name for file in (job.root / "output/data").iterdir())


def test_a_job_leaves_a_report_and_its_numbers(job):
    job.put("data.pbr", records(seed=1), "validation")
    job.put("data.pbr", records(seed=2), "test")
    done = job.run()
    assert done.succeeded, done.log
    assert files(job) == ["metrics.json", "report.html"]
    document = json.loads((job.root / "output/data/metrics.json").read_text())
    assert len(document["epochs"]) == 3
    for what, line in (("train", "epoch=2, train"), ("validation", "epoch=2, validation")):
        loss = document["epochs"][2][what]["binary_classification_cross_entropy"]
        assert f"{line} binary_classification_cross_entropy <loss>={loss}" in done.log
    page = (job.root / "output/data/report.html").read_text()
    assert "ROC curve" in page
    made_by = f"factorization-machines {__version__} (revision {revision()}), model {identity(job.root / 'model')}"
    assert document["made_by"] == made_by
    assert made_by in page


@pytest.mark.parametrize("n_tested", [None, 1, 12])
def test_a_job_that_learns_nothing_says_so_whatever_is_tested(job, n_tested):
    job.hyperparameters |= {"linear_lr": "0", "factors_lr": "0", "bias_lr": "0"}
    if n_tested is not None:
        random = np.random.default_rng(0)
        rows = random.random((n_tested, FEATURE_DIM), np.float32)
        labels = np.arange(n_tested, dtype=np.float32) % 2
        content = io.BytesIO()
        write_records(content, scipy.sparse.csr_matrix(rows), labels)
        job.put("data.pbr", content.getvalue(), "test")
    assert job.run_here().succeeded
    found = json.loads((job.root / "output/data/metrics.json").read_text())["findings"]
    known = "Even the rows that were learned from" if n_tested is None else "no better than by|too (few|little) to tell"
    assert any(re.search(known, sentence) for sentence in found), found


def test_the_model_is_the_same_with_a_report_and_without(job):
    job.environment["FM_REPORT"] = "false"
    without = job.run_here()
    assert files(job) == []
    job.environment["FM_REPORT"] = ""
    assert job.run_here().model == without.model
    assert files(job) == ["metrics.json", "report.html"]


def test_a_job_without_a_report_imports_nothing_for_one(job):
    job.environment["FM_REPORT"] = "false"
    code = "import sys; from container.train import main; main([]); print(*sorted(sys.modules))"
    done = job.run("-c", code)
    assert "fm_core.training.loop" in done.lines[-1]
    assert not {"fm_core.report.page", "fm_core.report.history"} & set(done.lines[-1].split())


def test_a_report_that_cannot_be_written_is_said_and_the_model_is_kept(job):
    job.environment["FM_REPORT"] = "true"
    (job.root / "output/data").rmdir()
    (job.root / "output/data").write_text("a file stands where the folder should be")
    done = job.run()
    assert done.succeeded
    assert "No report was written" in done.log


def test_the_figures_on_top_are_those_of_the_model_that_early_stopping_kept(job):
    job.hyperparameters |= {
        "epochs": "40", "mini_batch_size": "5", "linear_lr": "0.2", "factors_lr": "0.2", "early_stopping_patience": "4",
    }  # fmt: skip
    job.put("data.pbr", records(60, seed=1), "validation")
    done = job.run_here()
    document = json.loads((job.root / "output/data/metrics.json").read_text())
    losses = [epoch["validation"]["binary_classification_cross_entropy"] for epoch in document["epochs"]]
    assert document["best_epoch"] == losses.index(min(losses)) < len(losses) - 1
    kept = document["epochs"][document["best_epoch"]]
    accuracy = kept["validation"]["binary_classification_accuracy"]
    assert f"host=algo-1, validation binary_classification_accuracy <score>={accuracy}" in done.log
    page = (job.root / "output/data/report.html").read_text()
    assert f"<dt>validation accuracy</dt><dd>{accuracy:.5g}</dd>" in page
    assert f"<dt>train accuracy</dt><dd>{kept['train']['binary_classification_accuracy']:.5g}</dd>" in page


def test_test_rows_whose_scores_are_not_finite_end_no_job(job):
    job.hyperparameters["predictor_type"] = "regressor"
    file = io.BytesIO()
    huge = scipy.sparse.csr_array(np.full((2, FEATURE_DIM), 1e24, np.float32))
    write_records(file, huge, [1.0, 2.0])
    job.put("data.pbr", records(seed=2, real_labels=True) + file.getvalue(), "test")
    done = job.run_here()
    assert done.succeeded, done.log
    assert re.search(r"test rmse <loss>=(inf|nan)$", done.log, re.MULTILINE)
    assert "ERROR" not in done.log
    assert "Left out: 2 of 232 whose score is not finite." in (job.root / "output/data/report.html").read_text()
