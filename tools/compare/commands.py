"""The commands of `fm`, and the estimators of the library, run by both sides."""

import json
from pathlib import Path

from tools.compare.sides import Side, blanked, fresh

__all__ = ["COMMANDS", "FITS", "command", "fit_estimators"]

#: Arguments of `fm` by name. {in} is the folder of the inputs; {models} of models that the earlier commit trained.
COMMANDS = {
    "help": "--help",
    "convert: help": "convert --help",
    "convert: table": "convert {in}/table.csv x.recordio --label rating --categorical user,item --several tags:| "
    "--missing zero",
    "convert: table, hashed, split": "convert {in}/table.csv x.recordio --label rating --hashed user:16,item:8 "
    "--several tags:| --missing zero --split 0.8 --seed 3 --threshold 3 --shards 2",
    "convert: new rows": "convert {in}/new.csv y.recordio --schema {models}/columns/model/schema.json --unseen ignore",
    "convert: new rows, unseen": "convert {in}/table.csv y.recordio --schema {models}/columns/model/schema.json",
    "convert: to libsvm": "convert {in}/binary.train.rec x.libsvm --from recordio",
    "convert: to libfm": "convert {in}/binary.train.rec x.libfm --from recordio",
    "convert: to csv, gzip": "convert {in}/binary.train.dense.rec x.csv.gz --from recordio",
    "convert: to npz": "convert {in}/binary.train.rec x.npz --from recordio",
    "convert: to parquet": "convert {in}/binary.train.dense.rec x.parquet --from recordio",
    "convert: libsvm": "convert {in}/binary.train.libsvm {in}/binary.test.libsvm x.recordio",
    "convert: libsvm from 1": "convert {in}/one.libsvm x.recordio --first-id 1",
    "convert: csv without a header": "convert {in}/binary.train.csv x.recordio --no-header --label 0",
    "convert: parquet": "convert {in}/real.train.parquet x.recordio --label y",
    "convert: bad lines": "convert {in}/bad.libsvm x.recordio",
    "convert: no such label": "convert {in}/table.csv x.recordio --label nothing",
    "convert: no such file": "convert {in}/nothing.csv x.recordio",
    "convert: no format": "convert {in}/names.txt x.recordio",
    "predict": "predict {models}/binary {in}/binary.test.rec --from recordio",
    "predict: metrics": "predict {models}/binary {in}/binary.test.libsvm --metrics --output x.jsonl",
    "predict: an array": "predict {models}/real {in}/real.test.rec --from recordio -o x.npy --num-threads 2",
    "predict: columns": "predict {models}/columns/model {in}/new.csv --unseen ignore "
    "--schema {models}/columns/model/schema.json",
    "predict: too wide": "predict {models}/dense {in}/binary.test.libsvm",
    "predict: dense": "predict {models}/dense {in}/binary.test.csv --label 0",
    "predict: no model": "predict {in} {in}/binary.test.libsvm",
    "explain": "explain {models}/binary {in}/binary.test.libsvm --row 3 --top 4 --names {in}/names.txt",
    "explain: JSON": "explain {models}/real {in}/real.test.libsvm --json",
    "explain: columns": "explain {models}/columns/model {in}/new.csv --row 2 --unseen ignore "
    "--schema {models}/columns/model/schema.json",
    "explain: no such row": "explain {models}/binary {in}/binary.test.libsvm --row 7000",
    "inspect": "inspect {models}/binary --names {in}/names.txt",
    "inspect: JSON": "inspect {models}/real --json --top 3",
    "inspect: columns": "inspect {models}/columns/model --schema {models}/columns/model/schema.json",
    "inspect: no model": "inspect {in}/names.txt",
    "embeddings": "embeddings {models}/binary x.npy",
    "embeddings: users": "embeddings {models}/real x.npy --as users --features 3:9",
    "embeddings: parquet": "embeddings {models}/binary x.parquet --as factors --names {in}/names.txt",
    "embeddings: projector": "embeddings {models}/columns/model x.tsv --schema {models}/columns/model/schema.json",
}


def command(name: str, side: Side, inputs: Path, models: Path) -> dict[str, bytes]:
    """Run one of COMMANDS in an empty folder: what it says, and the files that it leaves."""
    folder = fresh(side.folder / "command")
    words = COMMANDS[name].replace("{in}", str(inputs)).replace("{models}", str(models)).split()
    done = side.run("-m", "fm_core.cli", *words, folder=folder, COLUMNS="100")
    left = {"exit code": str(done.returncode).encode(), "stdout": done.stdout, "stderr": done.stderr}
    left = {part: blanked(data, side) for part, data in left.items()}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            left[str(path.relative_to(folder))] = path.read_bytes()
    return left


#: Estimators by name: class, parameters, and what is fitted.
FITS = {
    "classifier": ("FMClassifier", {"num_factors": 6, "epochs": 4}, "sparse"),
    "classifier, in order": ("FMClassifier", {"mini_batch_size": 37, "epochs": 2, "shuffle": False}, "sparse"),
    "classifier, dense": ("FMClassifier", {"epochs": 3, "num_factors": 20}, "dense"),
    "regressor": ("FMRegressor", {"epochs": 4, "seed": 3}, "sparse"),
    "regressor, dense": ("FMRegressor", {"factors_lr": 0.2, "num_factors": 3, "epochs": 3}, "dense"),
    "regressor, validation": ("FMRegressor", {"epochs": 9, "early_stopping_patience": 2}, "validation"),
    "classifier, partial": ("FMClassifier", {"num_factors": 3}, "partial"),
    "classifier, labels of text": ("FMClassifier", {"epochs": 2}, "text"),
    "regressor, wrong parameter": ("FMRegressor", {"epochs": 0}, "sparse"),
    "regressor, no such parameter": ("FMRegressor", {"optimizer": "adamw"}, "sparse"),
}

_SCRIPT = """
import inspect, json, sys, warnings
import numpy as np, scipy.sparse as sp
import fm_core
inputs, kind, parameters, data = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4]
name = "binary" if kind == "FMClassifier" else "real"
def read(part):
    return fm_core.read_records(f"{inputs}/{name}.{part}{'.dense' if data == 'dense' else ''}.rec")
X, y = read("train"); T, u = read("test")
if data == "text": y = np.where(y > 0, "yes", "no")
try:
    kind = getattr(fm_core, kind)
    before = {"solver": "minibatch", "early_stopping": False, "epochs": 30}  # what was not chosen, nor held out
    taken = inspect.signature(kind).parameters
    estimator = kind(**{name: value for name, value in before.items() if name in taken} | parameters)
    print(estimator)
    if data == "partial":
        for i in range(0, X.shape[0], 100):
            estimator.partial_fit(X[i:i + 100], y[i:i + 100], classes=np.array([0, 1], y.dtype))
    elif data == "validation":
        estimator.fit(X, y, validation=(T, u))
    else:
        estimator.fit(X, y)
    if data != "text": print(repr(estimator.score(T, u)))
    print(estimator.n_features_in_, getattr(estimator, "classes_", None))
    np.save("predicted.npy", estimator.predict(T))
    estimator.save("model_algo-1")
except fm_core.FMError as error:
    print(type(error).__name__, error)
except ValueError as error:
    print("ValueError", error)
"""


def fit_estimators(name: str, side: Side, inputs: Path) -> dict[str, bytes]:
    """Fit one of FITS: its attributes, its predictions, its file."""
    kind, parameters, data = FITS[name]
    folder = fresh(side.folder / "fit")
    done = side.run("-c", _SCRIPT, str(inputs), kind, json.dumps(parameters), data, folder=folder)
    left = {"stdout": blanked(done.stdout, side), "stderr": blanked(done.stderr, side)}
    return left | {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
