"""Making training data: `fm convert` and `write_records`, against the writer of the SageMaker SDK, version 2.

Run ``python benchmarks/convert.py [--sdk PYTHON]``, where PYTHON has the packages of
tests/sdk/requirements.txt (by default .venvs/sdk/bin/python; without it the SDK is left out).
Rows are those of click logs: a label and 39 keys below a million, or the same as 39 columns of
texts. What is timed is the CPU time of the thread that does the work, reading and writing of
files included, start of the process excluded; cases take turns, and ratios are medians of
rounds. The SDK gets the first 2,000 rows, the others all of them.
"""

import argparse
import io
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from common import ROOT, describe, in_turn, ratios, table, times

from fm_core.formats import write_records
from fm_core.formats.conversion import Conversion, convert
from fm_core.formats.inputs import Options
from fm_core.formats.tables import TablePlan

FIELDS, WIDTH = 39, 1_000_000
SDK_ROWS = 2_000

SDK = """
import io, sys, time
out, sys.stdout = sys.stdout, sys.stderr  # the SDK has things to say
import numpy as np, scipy.sparse as sp
from sagemaker.amazon.common import write_spmatrix_to_sparse_tensor
matrix, labels = sp.load_npz(sys.argv[1]), np.load(sys.argv[2])
print("ready", file=out, flush=True)
for _ in sys.stdin:
    started = time.process_time()
    write_spmatrix_to_sparse_tensor(io.BytesIO(), matrix, labels)
    print(time.process_time() - started, file=out, flush=True)
"""


def make_rows(n_rows: int) -> tuple[sp.csr_matrix, np.ndarray]:
    random = np.random.default_rng(20240229)
    width = WIDTH // FIELDS
    keys = (width * random.random((n_rows, FIELDS)) ** 4).astype(np.int32) + np.arange(FIELDS, dtype=np.int32) * width
    indptr = np.arange(n_rows + 1) * FIELDS
    matrix = sp.csr_matrix((np.ones(keys.size, np.float32), keys.ravel(), indptr), (n_rows, WIDTH))
    return matrix, random.integers(0, 2, n_rows).astype(np.float32)


def make_texts(folder: Path, matrix: sp.csr_matrix, labels: np.ndarray) -> None:
    rows = matrix.indices.reshape(-1, FIELDS).tolist()
    with (folder / "x.libsvm").open("w") as libsvm, (folder / "x.csv").open("w") as csv:
        csv.write("label," + ",".join(f"c{i}" for i in range(FIELDS)) + "\n")
        for label, keys in zip(labels.astype(int).tolist(), rows, strict=True):
            libsvm.write(f"{label} {' '.join(f'{key}:1' for key in keys)}\n")
            csv.write(f"{label},{','.join(f't{key}' for key in keys)}\n")


def timed(work: Callable[[], object], n_rows: int) -> Callable[[], float]:
    """Microseconds a row."""

    def run() -> float:
        started = time.process_time()
        work()
        return (time.process_time() - started) / n_rows * 1e6

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sdk", type=Path, default=ROOT / ".venvs/sdk/bin/python")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    describe("Conversion to RecordIO-protobuf")
    n_rows = arguments.rows
    matrix, labels = make_rows(n_rows)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_texts(folder, matrix, labels)
        every = [f"c{i}" for i in range(FIELDS)]
        hashed = Options(plan=TablePlan(label="label", hashed=dict.fromkeys(every, WIDTH // FIELDS)))
        one_hot = Options(plan=TablePlan(label="label", categorical=every))
        known = Options(feature_dim=WIDTH)

        def fm(source: str, options: Options) -> Callable[[], float]:
            conversion = Conversion(schema_path=folder / "schema.json")
            return timed(lambda: convert([folder / source], folder / "x.rec", conversion, None, options), n_rows)

        cases = {
            "write_records, from memory": timed(lambda: write_records(io.BytesIO(), matrix, labels), n_rows),
            "fm convert, libsvm, feature_dim given": fm("x.libsvm", known),
            "fm convert, libsvm, read twice": fm("x.libsvm", Options()),
            "fm convert, CSV, hashed": fm("x.csv", hashed),
            "fm convert, CSV, one-hot, read twice": fm("x.csv", one_hot),
        }
        sdk = None
        if arguments.sdk.exists():
            sp.save_npz(folder / "x.npz", matrix[:SDK_ROWS])
            np.save(folder / "y.npy", labels[:SDK_ROWS])
            sdk = subprocess.Popen(
                [arguments.sdk, "-c", SDK, folder / "x.npz", folder / "y.npy"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
            sdk.stdout.readline()

            def written_by_sdk() -> float:
                sdk.stdin.write("\n")
                sdk.stdin.flush()
                return float(sdk.stdout.readline()) / SDK_ROWS * 1e6

            cases["SageMaker SDK v2, from memory"] = written_by_sdk
        else:
            print(f"(the SDK is left out: there is no {arguments.sdk})\n")
        try:
            found = in_turn(cases, arguments.rounds)
        finally:
            if sdk:
                sdk.kill()
                sdk.wait()
    reference = found.get("SageMaker SDK v2, from memory")
    table(
        ["rows of 39 keys", "microseconds a row", "times as fast as the SDK"],
        [
            (name, f"{np.median(measured):.2f}", times(ratios(reference, measured)) if reference else "-")
            for name, measured in found.items()
        ],
    )


if __name__ == "__main__":
    main()
