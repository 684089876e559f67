"""What `_kvstore` dist_async learns, compared with one host: the figures of docs/how-to/cluster.md.

    .venvs/torch/bin/python benchmarks/averages.py

Data: ../shared/data, which may not be redistributed; without it, the benchmark does nothing. Hosts are processes that
communicate over the loopback interface. Rows are shuffled once. One, two and four hosts use batches of 100 rows each.
"""

import socket
import subprocess
import sys

import numpy as np
import scipy.sparse
from common import ROOT

from container.stopping import end
from fm_core.batch import Batch
from fm_core.cluster.averaged import fit_local_sgd
from fm_core.cluster.data import DistributedData
from fm_core.cluster.evaluation import evaluate_shared
from fm_core.cluster.presence import Presence
from fm_core.cluster.process_group import ProcessGroup
from fm_core.hyperparameters import Hyperparameters
from fm_core.training.evaluation import evaluate
from fm_core.training.fit import fit

#: Data set: its labels, and the epochs that one host needs.
TASKS = {"ml100k_ua": ("y_bin", 20), "a9a": ("y", 5)}
BATCH = 100
FOLDER = ROOT.parent / "shared/data"


def load(name: str, part: str) -> list[Batch]:
    """The batches of a part of a data set; those to learn from in random order."""
    file = FOLDER / name / f"{part}.npz"
    X, y = scipy.sparse.load_npz(file).tocsr(), np.load(file)[TASKS[name][0]]
    if part == "train":
        order = np.random.default_rng(0).permutation(len(y))
        X, y = X[order], y[order]
    return [Batch.from_csr(X[i : i + BATCH].astype(np.float32), y[i : i + BATCH]) for i in range(0, len(y), BATCH)]


def main() -> None:
    if not FOLDER.is_dir():
        print("nothing to do: ../shared/data, which has the data, is absent")
        return
    print("| data | epochs | hosts | test cross entropy | accuracy |\n| --- | --- | --- | --- | --- |")
    for name, (_, epochs) in TASKS.items():
        for size in (1, 2, 4):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = str(probe.getsockname()[1])
            command = [sys.executable, __file__, name, str(size), port]
            ranks = [subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, text=True) for rank in range(size)]
            said = {process.communicate()[0] for process in ranks}
            print(f"| {name} | {epochs} | {size} | {said.pop().strip()} |", flush=True)


def of_one(name: str, size: int, port: int, rank: int) -> None:
    """Be one of the hosts, and print what it finds."""
    train, test = load(name, "train"), load(name, "test")
    hp = Hyperparameters(
        feature_dim=train[0].feature_dim, num_factors=16, predictor_type="binary_classifier", epochs=TASKS[name][1],
        mini_batch_size=BATCH, factors_lr=0.001, linear_lr=0.01,
    )  # fmt: skip
    if size == 1:
        metrics, _ = evaluate(fit(lambda epoch: train, hp).model, test)
    else:
        names = [f"host {i}" for i in range(size)]
        presence = Presence(names, rank, address="127.0.0.1", port=port, facts={}, interface="lo")
        presence.meet()
        group = presence.begin(lambda: ProcessGroup(presence, interface="lo"))
        model = fit_local_sgd(DistributedData(lambda epoch: train, is_replicated=True), hp, group).model
        found = evaluate_shared(model, DistributedData(lambda epoch: test, is_replicated=True), hp, group)
        assert found is not None
        metrics = found[0]
        group.leave()
    loss, accuracy = (metrics[f"binary_classification_{which}"] for which in ("cross_entropy", "accuracy"))
    print(f"{loss:.4f} | {accuracy:.4f}", flush=True)
    end(0)  # as `train` does: ProcessGroup.leave says why


if __name__ == "__main__":
    if len(sys.argv) > 1:
        of_one(sys.argv[1], *map(int, sys.argv[2:]))
    else:
        main()
