"""A host that is paused or cut off for less than the promised silence is waited for; a stop is a stop at any moment.

The short forms of tests/cluster/long.py.
"""

import random

import pytest

from benchmarks.network import is_possible
from fm_core.cluster.board import SILENCE
from tests.cluster import moments


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    pytest.importorskip("torch")
    return moments.plain_model(tmp_path_factory.mktemp("plain"))


def test_the_first_host_is_paused_and_the_job_goes_on_to_the_same_bytes(plain, tmp_path):
    moments.paused(tmp_path / "job", random.Random(0), 0, plain, SILENCE - 1, "epoch=20, train")


def test_a_host_is_cut_off_and_the_job_goes_on_to_the_same_bytes(plain, tmp_path):
    if not is_possible():
        pytest.skip("no network namespaces can be made here")
    moments.cut(tmp_path / "job", random.Random(0), 1, plain, 14, "epoch=20, train")


@pytest.mark.parametrize(("ranks", "after"), [((0, 1, 2), 1.5), ((1,), 0.0), ((0,), None)])
def test_sigterm_before_training_and_in_it_leaves_one_model(tmp_path, ranks, after):
    pytest.importorskip("torch")
    moments.stopped_at(tmp_path / "job", ranks, after, 0.1)
