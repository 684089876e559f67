"""Runs in a Python that has the SageMaker SDK, version 2: writes matrices with its writers.

usage: python write.py FOLDER

FOLDER holds CASE.npz: `labels` and either `rows` (a dense matrix) or `data`, `indices`, `indptr`
and `shape`. Each becomes CASE.pbr.
"""

import sys
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from sagemaker.amazon.common import write_numpy_to_dense_tensor, write_spmatrix_to_sparse_tensor


def main():
    for path in Path(sys.argv[1]).glob("*.npz"):
        arrays = np.load(path)
        with path.with_suffix(".pbr").open("wb") as file:
            if "rows" in arrays:
                write_numpy_to_dense_tensor(file, arrays["rows"], arrays["labels"])
            else:
                matrix = sp.csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), tuple(arrays["shape"]))
                write_spmatrix_to_sparse_tensor(file, matrix, arrays["labels"])


if __name__ == "__main__":
    main()
