"""The best of packed items is, bit for bit, the ranking of all items."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_core.analysis import packed_items
from fm_core.analysis.packed_items import PackedItems
from fm_core.analysis.ranking import contexts_of, rank_in_context
from fm_core.batch import Batch
from fm_core.kernels import _retrieval
from fm_core.model import Model

N_CONTEXT_FEATURES = 20


@pytest.fixture(params=_retrieval.builds())
def build(request):
    _retrieval.use(request.param)
    yield request.param
    _retrieval.use(_retrieval.builds()[0])


def make(random, n_items, k, *, size=1.0, equal=1, attributes=0, predictor_type="regressor"):
    """Make a model, items, and contexts. Of the items `equal` each are the same."""
    d = N_CONTEXT_FEATURES + n_items + attributes
    V = (random.standard_normal((d, k)) * size).astype(np.float32)
    w = (random.standard_normal(d) * size).astype(np.float32)
    of_items = slice(N_CONTEXT_FEATURES, N_CONTEXT_FEATURES + n_items)
    V[of_items] = np.repeat(V[of_items][: -(-n_items // equal)], equal, axis=0)[:n_items]
    w[of_items] = np.repeat(w[of_items][: -(-n_items // equal)], equal)[:n_items]
    model = Model(predictor_type, 0.1, w, V)
    keys = np.arange(N_CONTEXT_FEATURES, N_CONTEXT_FEATURES + n_items, dtype=np.int32)
    if attributes:
        others = random.integers(N_CONTEXT_FEATURES + n_items, d, n_items).astype(np.int32)
        indices = np.column_stack([keys, others]).ravel()
        values = np.column_stack([np.ones(n_items), random.standard_normal(n_items)]).ravel().astype(np.float32)
        rows = Batch(d, values, np.arange(0, 2 * n_items + 1, 2), indices)
    else:
        rows = Batch(d, np.ones(n_items, np.float32), np.arange(n_items + 1), keys)
    counts = random.integers(0, 4, 6)
    chosen = [np.sort(random.choice(N_CONTEXT_FEATURES, n, replace=False)) for n in counts]
    batch = Batch(
        d,
        random.standard_normal(counts.sum()).astype(np.float32),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.concatenate(chosen).astype(np.int32),
    )
    return model, rows, list(contexts_of(model, batch))


def check(model, rows, contexts, top_k, choices=None, excluded=None, num_threads=1):
    packed = PackedItems(model, rows, num_threads)
    choices = choices or [None] * len(contexts)
    made = [None if choice is None else packed.choice_of(choice) for choice in choices]
    found = packed.best(contexts, top_k, made, excluded, num_threads)
    for i, (context, ranked) in enumerate(zip(contexts, found, strict=True)):
        allowed = np.ones(rows.n_rows, bool) if choices[i] is None else choices[i].copy()
        if excluded is not None:
            allowed[excluded[i]] = False
        positions = np.flatnonzero(allowed)
        full = rank_in_context(model, context, rows.take(positions), top_k)
        assert ranked.indices.tolist() == positions[full.indices].tolist()
        assert ranked.scores.tobytes() == full.scores.tobytes()
    return packed


@given(
    seed=st.integers(0, 2**32),
    n_items=st.integers(1, 1500),
    k=st.sampled_from([1, 2, 3, 4, 7, 16, 33, 64]),
    size=st.sampled_from([0.0, 1e-35, 1e-3, 1.0, 1e4]),
    equal=st.sampled_from([1, 1, 2, 40, 5000]),
    attributes=st.sampled_from([0, 5]),
    top_k=st.integers(1, 20),
    num_threads=st.integers(1, 3),
    which=st.sampled_from(_retrieval.builds()),
)
def test_the_best_are_those_of_all_scores(seed, n_items, k, size, equal, attributes, top_k, num_threads, which):
    random = np.random.default_rng(seed)
    model, rows, contexts = make(random, n_items, k, size=size, equal=equal, attributes=attributes)
    choices = [None, random.random(n_items) < 0.5, None, random.random(n_items) < 0.01, np.zeros(n_items, bool), None]
    excluded = [random.integers(0, n_items, random.integers(0, 5)) for _ in contexts]
    _retrieval.use(which)
    try:
        check(model, rows, contexts, top_k, choices, excluded, num_threads)
    finally:
        _retrieval.use(_retrieval.builds()[0])


def test_few_of_many_items_are_scored_in_full(build, monkeypatch):
    random = np.random.default_rng(3)
    model, rows, contexts = make(random, 100_000, 64)
    scored = []

    def counted(model, context, candidates, top_k):
        scored.append(candidates.n_rows)
        return rank_in_context(model, context, candidates, top_k)

    monkeypatch.setattr(packed_items, "rank_in_context", counted)
    packed = check(model, rows, [context for context in contexts if len(context.keys)], 10, num_threads=2)
    assert max(scored) < 200
    assert packed.rows is rows


def test_more_contexts_than_one_pass_takes():
    random = np.random.default_rng(4)
    model, rows, contexts = make(random, 2000, 8, predictor_type="binary_classifier")
    check(model, rows, (contexts * 7)[:37], 5)


def test_blocks_out_of_reach_do_not_hide_an_item(build):
    random = np.random.default_rng(5)
    model, rows, contexts = make(random, 5000, 16)
    model.V[N_CONTEXT_FEATURES + 100 :] *= 1e-3  # what the bound of a block is for
    model.w[N_CONTEXT_FEATURES + 4000] = 100
    packed = check(model, rows, contexts, 3)
    assert all(ranked.indices[0] == 4000 for ranked in packed.best(contexts, 3))


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_parameters_that_no_interval_holds_are_ranked_one_by_one(value):
    random = np.random.default_rng(6)
    model, rows, contexts = make(random, 1000, 4)
    model.V[N_CONTEXT_FEATURES + 7, 2] = value
    with np.errstate(all="ignore"):
        check(model, rows, contexts, 4)


def test_no_items_give_no_best():
    random = np.random.default_rng(7)
    model, rows, contexts = make(random, 10, 4)
    none = rows.take(np.empty(0, np.int64))
    assert [len(ranked.indices) for ranked in PackedItems(model, none).best(contexts, 3)] == [0] * len(contexts)


def test_a_build_that_does_not_run_here_is_refused():
    with pytest.raises(ValueError, match="not one of the builds"):
        _retrieval.use("abacus")


def one_context(vectors, c):
    """Make a model of these items' vectors and a context of factor sums `c`."""
    n = len(vectors)
    V = np.concatenate([[c], vectors]).astype(np.float32)
    model = Model("regressor", 0.0, np.zeros(n + 1, np.float32), V)
    rows = Batch(n + 1, np.ones(n, np.float32), np.arange(n + 1), np.arange(1, n + 1, dtype=np.int32))
    context = Batch(n + 1, np.ones(1, np.float32), np.arange(2), np.zeros(1, np.int32))
    return model, rows, list(contexts_of(model, context))


def test_what_eight_bits_lose_of_an_item_is_allowed_for(build):
    random = np.random.default_rng(8)
    vectors = np.column_stack([random.uniform(50, 150, 1000), random.random(1000), np.zeros(1000)])
    check(*one_context(vectors, [0, 1, 0]), 5)


def test_what_eight_bits_lose_of_a_context_is_allowed_for(build):
    random = np.random.default_rng(9)
    vectors = np.column_stack([np.full(1000, 127), *random.integers(-127, 128, (2, 1000))])  # exact in eight bits
    check(*one_context(vectors, [1, 0.0045, 0.003]), 5)
