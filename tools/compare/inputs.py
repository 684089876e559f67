"""The data of every comparison, written once by the earlier commit: `python -m tools.compare.inputs FOLDER`.

Labels can be learned, ids are skewed, and the data has each kind of row that the formats distinguish.
"""

import gzip
import io
import json
import struct
import sys
from pathlib import Path

import numpy as np
import scipy.sparse

__all__ = ["FEATURE_DIM", "make"]

FEATURE_DIM, WIDE_DIM, DENSE_DIM = 60, 400_000, 12


def _labelled(rows, random, kind):
    scores = np.asarray(rows @ random.normal(size=rows.shape[1])).ravel()
    scores = (scores / (scores.std() or 1)).astype(np.float32)
    return (scores > 0).astype(np.float32) if kind == "binary" else np.round(scores * 2 + 3, 3).astype(np.float32)


def _sparse(n_rows, n_features, per_row, random):
    ids = np.minimum((random.pareto(0.7, (n_rows, per_row)) * 3).astype(np.int64), n_features - 1)
    values = np.where(random.random((n_rows, per_row)) < 0.6, 1, np.round(random.normal(size=(n_rows, per_row)), 3))
    indptr = np.arange(0, ids.size + 1, per_row)
    rows = scipy.sparse.csr_matrix((values.astype(np.float32).ravel(), ids.ravel(), indptr), (n_rows, n_features))
    rows.sum_duplicates()
    return rows


def _records(rows, labels):
    from fm_core.formats import write_records

    file = io.BytesIO()
    write_records(file, rows, labels)
    return file.getvalue()


def _csv(rows, labels):
    cells = (",".join(repr(float(str(value))) for value in row) for row in rows)
    lines = (f"{label:g},{row}" for label, row in zip(labels, cells, strict=True))
    return "\n".join(lines).encode() + b"\n"


def _libsvm(rows, labels, first=0):
    lines = []
    for i, label in enumerate(labels):
        row = rows[i].tocoo()
        pairs = (f"{k + first}:{float(str(v))!r}" for k, v in zip(row.col.tolist(), row.data.tolist(), strict=True))
        lines.append(f"{label:g} " + " ".join(pairs))
    return "\n".join(lines).encode() + b"\n"


def _table(random, n_rows):
    users, items = random.zipf(1.5, n_rows) % 40, random.integers(0, 30, n_rows)
    lines = ["user,item,tags,age,price,rating"]
    for i in range(n_rows):
        tags = "|".join(f"t{t}" for t in random.choice(9, random.integers(0, 4), replace=False))
        age = "" if random.random() < 0.1 else str(random.integers(18, 80))
        price = f"{random.random() * 100:.2f}"
        name = f'"u, {users[i]}"' if users[i] % 7 == 0 else f"u{users[i]}"
        lines.append(f"{name},i{items[i]},{tags},{age},{price},{(users[i] + items[i]) % 5 + 1}")
    return "\n".join(lines).encode() + b"\n"


def _damaged(data):
    """Two records of which the frame is whole and the message is none."""
    frames, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        size = 8 + (length + 3) // 4 * 4
        frames.append(bytearray(data[at : at + size]))
        at += size
    for number in (3, 77):
        frames[number][8:] = b"\xff" * (len(frames[number]) - 8)
    return b"".join(frames)


def make(folder: Path) -> None:
    """Write every file."""
    random = np.random.default_rng(20)
    files: dict[str, bytes] = {}
    for kind in ("binary", "real"):
        for name, n_rows in (("train", 640), ("test", 150)):
            rows = _sparse(n_rows, FEATURE_DIM, 6, random)
            labels = _labelled(rows, random, kind)
            files[f"{kind}.{name}.rec"] = _records(rows, labels)
            files[f"{kind}.{name}.libsvm"] = _libsvm(rows, labels)
            dense = np.round(random.normal(size=(n_rows, DENSE_DIM)), 3).astype(np.float32)
            labels = _labelled(dense, random, kind)
            files[f"{kind}.{name}.dense.rec"] = _records(dense, labels)
            files[f"{kind}.{name}.csv"] = _csv(dense, labels)
            files[f"{kind}.{name}.parquet"] = _parquet(dense, labels)
    wide = _sparse(2000, WIDE_DIM, 12, random)
    files["wide.train.rec"] = _records(wide, _labelled(wide, random, "binary"))
    wide_dense = np.round(random.normal(size=(300, 784)), 2).astype(np.float32)
    files["image.train.rec"] = _records(wide_dense, _labelled(wide_dense, random, "binary"))
    files["binary.train.rec.gz"] = gzip.compress(files["binary.train.rec"], mtime=0)
    files["binary.damaged.rec"] = _damaged(files["binary.train.rec"])
    files["binary.cut.rec"] = files["binary.train.rec"][:-41]
    files["text.rec"] = b"label,x0\n1,2\n"
    files["bad.libsvm"] = files["binary.train.libsvm"] + b"1 3:nan\n0 4:1 70:2\nabc 1:1\n1 2:3\n"
    files["bad.csv"] = files["binary.train.csv"] + b"1,2\n" + b"2" + b",0" * DENSE_DIM + b"\n1,x" + b",0" * 11 + b"\n"
    files["table.csv"] = _table(random, 400)
    files["new.csv"] = _table(random, 30)
    files["names.txt"] = "".join(f"feature {i}\n" for i in range(FEATURE_DIM)).encode()
    files["one.libsvm"] = _libsvm(_sparse(50, FEATURE_DIM - 1, 5, random), np.ones(50), first=1)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "sizes.json").write_text(json.dumps({"wide": WIDE_DIM, "dense": DENSE_DIM, "sparse": FEATURE_DIM}))


def _parquet(rows, labels):
    import pyarrow
    import pyarrow.parquet

    file = io.BytesIO()
    columns = {"y": labels} | {f"x{i}": rows[:, i] for i in range(rows.shape[1])}
    pyarrow.parquet.write_table(pyarrow.table(columns), file, row_group_size=100)
    return file.getvalue()


if __name__ == "__main__":
    make(Path(sys.argv[1]))
