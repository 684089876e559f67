"""The speed of both sides, measured in turn: training, decoding, scoring and a request."""

import contextlib
import http.client
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tools.compare import serving
from tools.compare.sides import Side, fresh

__all__ = ["compare_speed"]

#: The tree may take up to 1 / .97 of what the base takes.
SLOWEST = 0.97

# Public names only, which both sides have. A process of each side waits for the number of what it is to do, and says
# how many seconds of the processor one thread took.
_SCRIPT = """
import io, json, sys, time, numpy as np, scipy.sparse as sp
import fm_core
random = np.random.default_rng(0)
n, d, per = 40_000, 200_000, 39
keys = np.minimum((random.pareto(0.7, (n, per)) * 5000).astype(np.int64) + 5000 * np.arange(per), d - 1)
X = sp.csr_matrix((np.ones(keys.size, "f4"), keys.ravel(), np.arange(0, keys.size + 1, per)), (n, d))
X.sum_duplicates()
y = (random.random(n) < 0.3).astype("f4")
D = random.random((8000, 784)).astype("f4")
z = (random.random(8000) < 0.5).astype("f4")
def batches(X, y, make):
    return [make(X[i:i + 1000], y[i:i + 1000]) for i in range(0, X.shape[0], 1000)]
sparse, dense = batches(X, y, fm_core.Batch.from_csr), batches(D, z, fm_core.Batch.from_dense)
file = io.BytesIO(); fm_core.write_records(file, X, y); data = file.getvalue()
def settings(d, k):
    return fm_core.Hyperparameters(feature_dim=d, num_factors=k, predictor_type="binary_classifier", epochs=1)
model = fm_core.fit(lambda epoch: sparse[:3], settings(d, 64)).model
tasks = {
    "train, sparse, k 8": lambda: fm_core.fit(lambda epoch: sparse, settings(d, 8)),
    "train, sparse, k 64": lambda: fm_core.fit(lambda epoch: sparse, settings(d, 64)),
    "train, dense, k 8": lambda: fm_core.fit(lambda epoch: dense, settings(784, 8)),
    "read records": lambda: [fm_core.read_records(io.BytesIO(data)) for _ in range(4)],
    "write records": lambda: [fm_core.write_records(io.BytesIO(), X, y) for _ in range(4)],
    "score, sparse, k 64": lambda: [model.predict(batch) for batch in sparse],
    "score one row, 1000 times": lambda: [model.predict(one) for _ in range(1000)],
}
one = fm_core.Batch.from_csr(X[:1])
print(json.dumps(list(tasks)), flush=True)
for line in sys.stdin:
    started = time.process_time()
    tasks[line.strip()]()
    print(time.process_time() - started, flush=True)
"""


def compare_speed(base: Side, tree: Side, models: Path, rounds: int) -> int:
    """Print, for each thing that is timed, how fast the tree is in units of the base.

    Returns
    -------
    status : int
        1 if something takes more than 1 / .97 of the base's time, by the median of the rounds.
    """
    taken: dict[str, dict[str, list[float]]] = {}
    body = json.dumps({"instances": [serving.ROW] * 20}).encode()
    with contextlib.ExitStack() as stack:
        workers, ports, names = {}, {}, []
        for side in (base, tree):
            root = fresh(side.folder / "served")
            serving.lay_out_models(root, models, "binary")
            ports[side.name] = stack.enter_context(serving.serving(side, root))
            worker = subprocess.Popen(
                [sys.executable, "-c", _SCRIPT], cwd=side.folder, env=side.environment(OMP_NUM_THREADS="1"),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            workers[side.name] = stack.enter_context(worker)
            names = json.loads(worker.stdout.readline())
        for number, name in itertools.product(range(rounds), names):
            for side in ("base", "tree") if number % 2 else ("tree", "base"):
                print(name, file=workers[side].stdin, flush=True)
                taken.setdefault(name, {}).setdefault(side, []).append(float(workers[side].stdout.readline()))
        for number in range(2 * rounds):
            for side in ("base", "tree") if number % 2 else ("tree", "base"):
                of = taken.setdefault("a request of 20 rows, by the clock", {}).setdefault(side, [])
                of.append(_request(ports[side], body))
    print(f"{base.root.name} and the working tree, {rounds} rounds in turn, load average {os.getloadavg()[0]:.1f}\n")
    print("| what | base, ms | tree, ms | speed of the tree |\n| --- | ---: | ---: | ---: |")
    slow = False
    for name, sides in taken.items():
        ratios = [a / b for a, b in zip(sides["base"], sides["tree"], strict=True)]
        ratio = statistics.median(ratios)
        slow |= ratio < SLOWEST
        medians = [statistics.median(sides[side]) * 1000 for side in ("base", "tree")]
        print(
            f"| {name} | {medians[0]:.2f} | {medians[1]:.2f} | {ratio:.2f} x ({min(ratios):.2f} - {max(ratios):.2f}) |"
        )
    return int(slow)


def _request(port: int, body: bytes) -> float:
    """The median of requests, seconds, on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    taken = []
    for _ in range(300):
        started = time.perf_counter()
        connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
        assert connection.getresponse().read()
        taken.append(time.perf_counter() - started)
    connection.close()
    return statistics.median(taken)
