"""Other recommenders for recommend.py, in an environment of their own: `implicit` or `rankfmc`, NumPy and SciPy.

    python recommend_peers.py PEER FILE.npz < settings.json

FILE has `users` and `items` of positives, and the number of both. The script prints a JSON object with the processor
seconds of training, and writes the scores of all items for each user to scores.npy next to FILE.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np


def bpr(users, items, n_users, n_items, settings):
    """`implicit`'s BPR on the CPU."""
    import scipy.sparse as sp
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    matrix = sp.csr_matrix((np.ones(len(users), np.float32), (users, items)), (n_users, n_items))
    settings = dict(settings)
    model = BayesianPersonalizedRanking(random_state=settings.pop("seed", 1), **settings)
    started = time.process_time()
    model.fit(matrix, show_progress=False)
    seconds = time.process_time() - started
    return seconds, model.user_factors @ model.item_factors.T


def warp(users, items, n_users, n_items, settings):
    """RankFM's WARP."""
    import pandas as pd
    from rankfmc.rankfm import RankFM

    settings = dict(settings)
    np.random.seed(settings.pop("seed", 1))
    epochs = settings.pop("epochs")
    model = RankFM(loss="warp", **settings)
    started = time.process_time()
    model.fit(pd.DataFrame({"user": users, "item": items}), epochs=epochs)
    seconds = time.process_time() - started
    pairs = pd.DataFrame({"user": np.repeat(np.arange(n_users), n_items), "item": np.tile(np.arange(n_items), n_users)})
    scores = np.asarray(model.predict(pairs, cold_start="nan")).reshape(n_users, n_items)
    return seconds, np.where(np.isnan(scores), -np.inf, scores)  # of items that it has not seen


PEERS = {"implicit": bpr, "rankfm": warp}


def main(peer, path):
    """Train one, and leave its scores."""
    data = np.load(path)
    settings = json.load(sys.stdin)
    seconds, scores = PEERS[peer](data["users"], data["items"], int(data["n_users"]), int(data["n_items"]), settings)
    np.save(Path(path).with_name("scores.npy"), scores.astype(np.float32))
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
