"""The vectors of `fm embeddings` in a real index of faiss: neighbours are the model's own best items."""

import numpy as np
import pytest

from fm_core.artifact.model_file import save_model
from fm_core.batch import Batch
from fm_core.cli import main
from fm_core.model import Model

faiss = pytest.importorskip("faiss")

N_USERS, N_ITEMS, K = 50, 3000, 10


def best_of(model):
    """Each user's best items, by scores of whole rows."""
    found = []
    for user in range(N_USERS):
        keys = np.column_stack([np.full(N_ITEMS, user), N_USERS + np.arange(N_ITEMS)]).astype(np.int32).ravel()
        rows = Batch(N_USERS + N_ITEMS, np.ones(2 * N_ITEMS, np.float32), 2 * np.arange(N_ITEMS + 1), keys)
        found.append(np.argsort(-model.predict(rows), kind="stable")[:K])
    return np.array(found)


@pytest.fixture(scope="module", params=["regressor", "binary_classifier"])
def vectors(request, tmp_path_factory):
    """The model's best items, and the users' and items' vectors that the command writes."""
    random = np.random.default_rng(0)
    d = N_USERS + N_ITEMS
    # probabilities apart from 0 and 1, where float32 has many that are equal
    w, V = random.standard_normal(d) / 4, random.standard_normal((d, 8)) / 4
    model = Model(request.param, 0.3, w.astype(np.float32), V.astype(np.float32))
    folder = tmp_path_factory.mktemp("index")
    save_model(folder / "model_algo-1", model, {})
    found = []
    for what, features in (("users", f"0:{N_USERS}"), ("items", f"{N_USERS}:{d}")):
        path = folder / f"{what}.npy"
        assert main(["embeddings", str(folder), str(path), "--as", what, "--features", features]) == 0
        found.append(np.load(path))
    return best_of(model), *found


def test_neighbours_in_a_flat_index_are_the_best_items(vectors):
    best, users, items = vectors
    index = faiss.IndexFlatIP(items.shape[1])
    index.add(items)
    _, found = index.search(users, K)
    # sums of another order may swap two items whose scores are one float32
    assert (found == best).mean() > 0.99
    assert (np.sort(found, axis=1) == np.sort(best, axis=1)).mean() > 0.99


def test_neighbours_in_a_graph_are_nearly_all_of_them(vectors):
    best, users, items = vectors
    index = faiss.IndexHNSWFlat(items.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 100
    index.hnsw.efSearch = 300
    index.add(items)
    _, found = index.search(users, K)
    recall = np.mean([len(set(a) & set(b)) / K for a, b in zip(found.tolist(), best.tolist(), strict=True)])
    assert recall > 0.95


def test_without_the_last_number_they_would_not_be(vectors):
    best, users, items = vectors
    index = faiss.IndexFlatIP(items.shape[1] - 1)
    index.add(np.ascontiguousarray(items[:, :-1]))
    _, found = index.search(np.ascontiguousarray(users[:, :-1]), K)
    assert (np.sort(found, axis=1) == np.sort(best, axis=1)).mean() < 0.9
