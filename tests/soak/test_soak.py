"""The soak's short form; `make soak` runs the long one."""

import os

from tests.soak.soak import soak, verdict


def test_nothing_goes_wrong_under_load_with_workers_dying(tmp_path):
    tally = soak(tmp_path, seconds=float(os.environ.get("FM_SOAK_SECONDS", "8")), kill_every=2)
    assert verdict(tally) == []
    assert len(tally.kills) >= 2
    assert min(tally.counts[kind] for kind in ("answered", "refused", "loads", "asked", "unloads")) > 0
