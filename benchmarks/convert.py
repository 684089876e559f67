"""Making training data: `fm convert` and `write_records`, compared with the writer of the SageMaker SDK, version 2.

Run ``python benchmarks/convert.py [--sdk PYTHON]``, where PYTHON has the packages of
tests/sdk/requirements.txt (by default .venvs/sdk/bin/python; without it, the SDK is skipped).

There are two data sets: ratings, with a user, an item and a number in each row; and clicks, with 39 texts in each row,
most of them rare, which is the hardest case. The benchmark measures CPU time, including reading and writing files, but
not the start of the process. Cases take turns, and ratios are medians over rounds. The SDK gets a finished matrix of
the first 2,000 rows; `fm convert` starts from text, and also has to find the features in it.
"""

import argparse
import contextlib
import io
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from common import ROOT, describe, in_turn, ratios, table, times

from fm_core.formats import write_records
from fm_core.formats.convert.conversion import Conversion, convert
from fm_core.formats.registry.inputs import Options
from fm_core.formats.tables.learner import TablePlan

SDK_ROWS = 2_000
BY_SDK = "SageMaker SDK v2, from memory"

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


def make_rows(n_rows: int, fields: int, dim: int) -> tuple[sp.csr_matrix, np.ndarray]:
    random = np.random.default_rng(20240229)
    width = dim // fields
    keys = (width * random.random((n_rows, fields)) ** 4).astype(np.int32) + np.arange(fields, dtype=np.int32) * width
    indptr = np.arange(n_rows + 1) * fields
    matrix = sp.csr_matrix((np.ones(keys.size, np.float32), keys.ravel(), indptr), (n_rows, dim))
    return matrix, random.integers(0, 2, n_rows).astype(np.float32)


def make_texts(folder: Path, matrix: sp.csr_matrix, labels: np.ndarray, fields: int) -> None:
    rows = matrix.indices.reshape(-1, fields).tolist()
    with (folder / "x.libsvm").open("w") as libsvm, (folder / "x.csv").open("w") as csv:
        csv.write("label," + ",".join(f"c{i}" for i in range(fields)) + "\n")
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
    if not arguments.sdk.exists():
        print(f"(the SDK is left out: there is no {arguments.sdk})\n")
    for name, n_rows, fields, dim in (
        ("ratings", 4 * arguments.rows, 2, 10_000),
        ("clicks", arguments.rows, 39, 10**6),
    ):
        compare(name, n_rows, fields, dim, arguments.sdk if arguments.sdk.exists() else None, arguments.rounds)


def compare(title: str, n_rows: int, fields: int, dim: int, sdk: Path | None, rounds: int) -> None:
    matrix, labels = make_rows(n_rows, fields, dim)
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        make_texts(folder, matrix, labels, fields)
        every = [f"c{i}" for i in range(fields)]
        hashed = Options(plan=TablePlan(label="label", hashed=dict.fromkeys(every, dim // fields)))
        one_hot = Options(plan=TablePlan(label="label", categorical=every))

        def fm(source: str, options: Options) -> Callable[[], float]:
            conversion = Conversion(schema_path=folder / "schema.json")
            return timed(lambda: convert([folder / source], folder / "x.rec", conversion, None, options), n_rows)

        cases = {
            "write_records, from memory": timed(lambda: write_records(io.BytesIO(), matrix, labels), n_rows),
            "fm convert, libsvm, feature_dim given": fm("x.libsvm", Options(feature_dim=dim)),
            "fm convert, libsvm, read twice": fm("x.libsvm", Options()),
            "fm convert, CSV, hashed": fm("x.csv", hashed),
            "fm convert, CSV, one-hot": fm("x.csv", one_hot),
        }
        if sdk:
            cases[BY_SDK] = stack.enter_context(written_by_sdk(sdk, folder, matrix, labels))
        found = in_turn(cases, rounds)
    reference = found.get(BY_SDK)
    table(
        [f"{title}, {fields} keys a row", "microseconds a row", "times as fast as the SDK"],
        [
            (name, f"{np.median(measured):.2f}", times(ratios(reference, measured)) if reference else "-")
            for name, measured in found.items()
        ],
    )


@contextlib.contextmanager
def written_by_sdk(sdk: Path, folder: Path, matrix: sp.csr_matrix, labels: np.ndarray) -> Iterator[Callable[[], float]]:
    """Start the Python that has the SDK; give what makes it write once."""
    sp.save_npz(folder / "x.npz", matrix[:SDK_ROWS])
    np.save(folder / "y.npy", labels[:SDK_ROWS])
    process = subprocess.Popen(
        [sdk, "-c", SDK, folder / "x.npz", folder / "y.npy"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip

    def write() -> float:
        process.stdin.write("\n")
        process.stdin.flush()
        return float(process.stdout.readline()) / SDK_ROWS * 1e6

    try:
        process.stdout.readline()
        yield write
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
