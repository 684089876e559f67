"""The short form of `make crash-test`."""

import pytest

from tests.crash import large
from tests.crash.crash import crash


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_twenty_runs_that_are_killed_stopped_or_given_a_fault_lose_nothing():
    tally = crash(20, seed=8)
    assert tally.wrong == []
    assert tally.counts["jobs"] == tally.counts["identical"] >= 1
    assert tally.counts["resumes"] >= 1


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_larger_model_is_saved_whatever_the_job_was_doing(capsys):
    assert large.main(["--feature-dim", "100000"]) == 0
    assert capsys.readouterr().out.count("\n") == 5
