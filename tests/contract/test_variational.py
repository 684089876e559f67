"""Solver `bayes` without chance as a job: `_bayes_method` variational."""

import pytest

from tests.contract.test_bayes import bayes_job, curve, params
from tests.contract.training import records


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_sweeps_go_on_until_they_move_nothing_and_threads_do_not_matter(tmp_path, predictor_type):
    done = []
    for threads in ("1", "2"):
        job = bayes_job(tmp_path / threads, _bayes_method="variational", num_threads=threads)
        if predictor_type == "binary_classifier":
            job.put("0.pbr", records(400))
        job.hyperparameters["predictor_type"] = predictor_type
        del job.hyperparameters["epochs"]
        done.append(job.run())
        assert done[-1].succeeded, done[-1].log
    name = "rmse" if predictor_type == "regressor" else "binary_classification_cross_entropy"
    found = curve(done[0].log, name=name)
    assert 16 <= len(found) <= 200
    assert found[-1] < 0.9 * found[0]
    assert params(done[0]) == params(done[1])


def test_another_method_is_refused(tmp_path):
    job = bayes_job(tmp_path / "job", _bayes_method="mcmc")
    assert "_bayes_method is 'mcmc', expected one of gibbs, variational" in job.run().failure
