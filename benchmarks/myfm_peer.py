"""Train myFM, for benchmarks/bayes.py: runs in an environment of its own, which has myFM, NumPy and SciPy alone.

    .venvs/myfm/bin/python benchmarks/myfm_peer.py DATA.npz {regressor,binary_classifier} RANK SWEEPS

DATA.npz: rows in CSR as `scipy.sparse.save_npz` names their arrays, and ``y``. Prints the processor's seconds of `fit`,
and those of each sweep but the first, as JSON. Groups are not given, which spares it work.
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
