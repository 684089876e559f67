"""Trains and predicts with MXNet's own engine; runs in MXNet's environment, knows no fm_core.

usage: python engine.py JOBS.json

JOBS.json holds a list of jobs: ``folder`` (holds `model_algo-1` and `rows.npz`), ``batch``,
``epochs``, ``dense`` and ``optimizer`` (arguments of MXNet's Adam). For each, `model_algo-1`
is opened by the recipe that public code opens the built-in's model with, all rows are
scored (`scores.npy`), the model is trained as the public sparse example of MXNet does it
(kvstore `local`, each batch's rows pulled), and saved as `trained-symbol.json` and
`trained-0000.params`.
"""

import json
import os
import sys
import zipfile
from pathlib import Path

import mxnet as mx
import numpy as np
import scipy.sparse as sp
from mxnet.io import DataBatch, DataDesc


def unpack():
    with zipfile.ZipFile("model_algo-1") as archive:
        archive.extractall(".")
    Path("symbol.json").rename("model-symbol.json")
    Path("params").rename("model-0000.params")


def bound(n_rows, feature_dim, dense, for_training):
    """The model, opened by the public recipe and ready for batches of a size."""
    module = mx.module.Module.load("./model", 0, False, label_names=["out_label"])
    parameters = {name: module._arg_params[name] for name in ("w0_weight", "w1_weight", "v")}
    if dense:
        module = dense_twin(module)
        parameters = {name: array.tostype("default") for name, array in parameters.items()}
    module.bind(*shapes(n_rows, feature_dim), for_training=for_training)
    if dense:  # a loaded module gives its parameters to the executors when bound
        module.init_params(arg_params=parameters)
    return module


def shapes(n_rows, feature_dim):
    return [DataDesc("data", (n_rows, feature_dim))], [DataDesc("out_label", (n_rows, 1))]


def dense_twin(module):
    """The same network of ordinary arrays: what the built-in calls fully symbolic."""
    graph = json.loads(module._symbol.tojson())
    attributes = {node["name"]: node.get("attrs", {}) for node in graph["nodes"]}

    def parameter(name):
        facts = attributes[name]
        return mx.sym.Variable(
            name,
            shape=module._arg_params[name].shape,
            lr_mult=float(facts["__lr_mult__"]),
            wd_mult=float(facts["__wd_mult__"]),
        )

    x, w, w0, v = mx.sym.Variable("data"), parameter("w1_weight"), parameter("w0_weight"), parameter("v")
    squares = mx.sym.dot(mx.sym.square(x), mx.sym.sum(mx.sym.square(v), axis=1, keepdims=True))
    pairs = 0.5 * (mx.sym.sum(mx.sym.square(mx.sym.dot(x, v)), axis=1, keepdims=True) - squares)
    total = mx.sym.broadcast_add(mx.sym.dot(x, w), w0) + pairs
    output = getattr(mx.sym, graph["nodes"][-1]["op"])
    symbol = output(data=total, label=mx.sym.Variable("out_label"), name="out")
    return mx.mod.Module(symbol, data_names=["data"], label_names=["out_label"])


def batches(rows, labels, size, dense):
    found = []
    for start in range(0, rows.shape[0], size):
        part = rows[start : start + size]
        data = (
            mx.nd.array(part.toarray())
            if dense
            else mx.nd.sparse.csr_matrix((part.data, part.indices, part.indptr), shape=part.shape, dtype="float32")
        )
        found.append(DataBatch(data=[data], label=[mx.nd.array(labels[start : start + size].reshape(-1, 1))]))
    return found


def scores(rows, labels, dense):
    (batch,) = batches(rows, labels, rows.shape[0], dense)
    module = bound(*rows.shape, dense, for_training=False)
    module.forward(batch, is_train=False)
    return module.get_outputs()[0].asnumpy().ravel()


def train(rows, labels, job):
    module = bound(job["batch"], rows.shape[1], job["dense"], for_training=True)
    store = mx.kvstore.create("local")
    settings = {"learning_rate": 1.0, "wd": 1.0, **job["optimizer"]}
    module.init_optimizer(kvstore=store, optimizer="adam", optimizer_params=tuple(settings.items()))
    # A sparse module takes batches of one size only: the last, shorter one has a module of its own,
    # that shares parameters and optimizer.
    rest = mx.mod.Module(module._symbol, data_names=["data"], label_names=["out_label"])
    rest.bind(*shapes(rows.shape[0] % job["batch"], rows.shape[1]), shared_module=module)
    rest.borrow_optimizer(module)
    for _ in range(job["epochs"]):
        for batch in batches(rows, labels, job["batch"], job["dense"]):
            fitting = module if batch.data[0].shape[0] == job["batch"] else rest
            if not job["dense"]:
                for name in ("w1_weight", "v"):
                    number = fitting._exec_group.param_names.index(name)
                    arrays = fitting._exec_group.param_arrays[number]
                    store.row_sparse_pull(name, arrays, row_ids=[batch.data[0].indices], priority=-number)
            fitting.forward_backward(batch)
            fitting.update()
    module.get_params()
    mx.nd.waitall()  # saving does not wait for the rows that are still being pulled
    module.save_checkpoint("trained", 0)


def run(job):
    os.chdir(job["folder"])
    content = np.load("rows.npz")
    rows = sp.csr_matrix((content["values"], content["indices"], content["indptr"]), shape=content["shape"])
    labels = content["labels"]
    unpack()
    np.save("scores.npy", scores(rows, labels, job["dense"]))
    train(rows, labels, job)


if __name__ == "__main__":
    for each in json.loads(Path(sys.argv[1]).read_text()):
        run(each)
