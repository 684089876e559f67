import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fm_core.partition import WHOLE, Partition


@given(size=st.integers(1, 9), feature_dim=st.integers(1, 60))
def test_every_feature_has_one_owner_and_one_row_there(size, feature_dim):
    features = np.arange(feature_dim)
    seen = []
    for part in map(Partition(0, size).of, range(size)):
        mine = part.features(feature_dim)
        assert (part.owner(mine) == part.rank).all()
        assert part.local(mine).tolist() == list(range(part.n_features(feature_dim)))
        assert (part.global_ids(part.local(mine).astype(np.int32)) == mine).all()
        assert (features[part.rows] == mine).all()
        assert part.n_rows(feature_dim) == max(1, len(mine)) <= part.n_rows_at_most(feature_dim)
        seen += mine.tolist()
    assert sorted(seen) == features.tolist()


@given(size=st.integers(1, 9), bounds=st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted))
def test_a_block_of_the_whole_is_put_together_of_the_ranks_rows(size, bounds):
    start, stop = bounds
    whole = np.arange(60)
    block = np.full(stop - start, -1)
    for part in map(Partition(0, size).of, range(size)):
        block[part.places_in(start)] = whole[part.rows][part.local_slice(start, stop)]
    assert block.tolist() == whole[start:stop].tolist()


def test_one_process_keeps_all():
    assert WHOLE.features(5).tolist() == [0, 1, 2, 3, 4]
