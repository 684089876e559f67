"""The report: what a job leaves in output/data, and that a job that wants none pays nothing."""

import json

import pytest

from tests.contract.training import Job, records


@pytest.fixture
def job(tmp_path):
    job = Job(tmp_path)
    job.put("data.pbr", records())
    return job


def files(job):
    return sorted(file.name for file in (job.root / "output/data").iterdir())


def test_a_job_leaves_a_report_and_its_numbers(job):
    pytest.importorskip("pygal")
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
    assert "ROC curve" in (job.root / "output/data/report.html").read_text()


def test_the_model_is_the_same_with_a_report_and_without(job):
    pytest.importorskip("pygal")
    job.environment["FM_REPORT"] = "false"
    without = job.run_here()
    assert files(job) == []
    job.environment["FM_REPORT"] = ""
    assert job.run_here().model == without.model
    assert files(job) == ["metrics.json", "report.html"]


@pytest.mark.parametrize("asked", ["", "true"])
def test_without_what_draws_it_there_is_no_report_and_who_asked_is_told(job, asked):
    job.environment["FM_REPORT"] = asked
    hide = "import sys; sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]; "
    hiding = (
        "class Hiding:\n"
        "    def __init__(self, finder): self._finder = finder\n"
        "    def find_spec(self, name, *more):\n"
        "        return None if name == 'pygal' else self._finder.find_spec(name, *more)\n"
    )
    done = job.run("-c", f"{hiding}{hide}from container.train import main; sys.exit(main([]))")
    assert done.succeeded, done.log
    assert "report.html" not in files(job)
    assert ("No report was written: a report needs pygal" in done.log) == bool(asked)


def test_a_job_without_a_report_imports_nothing_for_one(job):
    job.environment["FM_REPORT"] = "false"
    code = "import sys; from container.train import main; main([]); print(*sorted(sys.modules))"
    done = job.run("-c", code)
    assert "fm_core.training.loop" in done.lines[-1]
    assert not {"pygal", "fm_core.report.page", "fm_core.report.history"} & set(done.lines[-1].split())


def test_a_report_that_cannot_be_written_is_said_and_the_model_is_kept(job):
    job.environment["FM_REPORT"] = "true"
    (job.root / "output/data").rmdir()
    (job.root / "output/data").write_text("a file stands where the folder should be")
    done = job.run()
    assert done.succeeded
    assert "No report was written" in done.log
