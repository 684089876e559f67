"""Train myFM, for benchmarks/bayes.py: it runs in an environment of its own that has only myFM, NumPy and SciPy.

    .venvs/myfm/bin/python benchmarks/myfm_peer.py DATA.npz {regressor,binary_classifier} RANK SWEEPS

DATA.npz has rows in CSR, with the array names of `scipy.sparse.save_npz`, and ``y``. The script prints the processor
seconds of `fit`, and those of each sweep except the first, as JSON. It passes no groups, which saves myFM work.
"""

import json
import sys
import time

import myfm
import numpy as np
import scipy.sparse as sp


def main() -> None:
    path, kind, rank, n_sweeps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    X, y = sp.load_npz(path).tocsr(), np.load(path)["y"].astype(float)
    make = myfm.MyFMGibbsRegressor if kind == "regressor" else myfm.MyFMGibbsClassifier
    ends: list[float] = []

    def tell(*_: object) -> tuple[bool, None]:
        ends.append(time.process_time())
        return False, None

    n_kept = 1 if len(y) > 200_000 else None  # a sample is a copy of all parameters
    started = time.process_time()
    make(rank=rank, random_seed=1).fit(X, y, n_iter=n_sweeps, n_kept_samples=n_kept, callback=tell)
    seconds = time.process_time() - started
    print(json.dumps({"fit": seconds, "sweeps": np.diff(ends).tolist()}))


if __name__ == "__main__":
    main()
