"""Write the data of test_dir, from a fixed seed: `python local_test/make_data.py`.

There are a thousand training rows and two hundred test rows, of 30 people and 20 things, one-hot encoded. A person
likes a thing, or not, by hidden tastes of three dimensions. request.json and request.pbr contain the first ten test
rows as requests. For a model of real data see demo.py.
"""

import json
from pathlib import Path

import numpy as np
import scipy.sparse

from fm_core.formats import write_records

FOLDER = Path(__file__).parent / "test_dir"
PEOPLE, THINGS, TASTES = 30, 20, 3
ROWS = {"train": 1000, "test": 200}


def main() -> None:
    """Write each channel, and the requests."""
    random = np.random.default_rng(0)
    people, things = random.normal(size=(PEOPLE, TASTES)), random.normal(size=(THINGS, TASTES))
    for channel, n_rows in ROWS.items():
        person, thing = random.integers(PEOPLE, size=n_rows), random.integers(THINGS, size=n_rows)
        liking = np.sum(people[person] * things[thing], axis=1)
        labels = (random.random(n_rows) < 1 / (1 + np.exp(-2 * liking))).astype(np.float32)
        keys = np.stack([person, PEOPLE + thing], axis=1)
        rows = scipy.sparse.csr_matrix(
            (np.ones(keys.size, np.float32), keys.ravel(), np.arange(0, keys.size + 1, 2)),
            shape=(n_rows, PEOPLE + THINGS),
        )
        folder = FOLDER / "input/data" / channel
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "part-0.pbr").open("wb") as file:
            write_records(file, rows, labels)
    with (FOLDER / "request.pbr").open("wb") as file:
        write_records(file, rows[:10])
    instances = [
        {"data": {"features": {"keys": row.tolist(), "shape": [PEOPLE + THINGS], "values": [1, 1]}}}
        for row in keys[:10]
    ]
    (FOLDER / "request.json").write_text(json.dumps({"instances": instances}) + "\n")
    for name in ("model", "output"):
        (FOLDER / name).mkdir(exist_ok=True)


if __name__ == "__main__":
    main()
