"""The tests of several hosts: each host a real process, and PyTorch between them.

They are run by `make test-cluster`, in the environment that has PyTorch; elsewhere they are left out.
"""

import pytest

from tests.cluster.hosts import Hosts


@pytest.fixture
def hosts(tmp_path):
    """Make the hosts of a job: ``hosts(3, epochs="2")``."""
    pytest.importorskip("torch")
    made = []

    def make(size, **hyperparameters):
        made.append(size)
        return Hosts(tmp_path / f"job{len(made)}", size, **hyperparameters)

    return make
