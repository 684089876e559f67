"""The network of the artifact's `symbol.json`, as MXNet 1.3 wrote it for the built-in.

The graph computes ``w0 + <w, x> + sum((x V)**2) / 2 - <x**2, sum(V**2)> / 2``. Its three
parameters have the attributes that the built-in gives to MXNet: shape, storage type, the
multipliers of learning rate and weight decay, and the initialisation.
"""

import json
from collections.abc import Mapping
from typing import Any

from fm_core.hyperparameters import parameters

__all__ = ["symbol_json"]

_MXNET_VERSION = 10301
_ROW_SPARSE, _CSR = "1", "2"
_OUTPUTS = {"regressor": "LinearRegressionOutput", "binary_classifier": "LogisticRegressionOutput"}

#: Per init method, its argument: MXNet's initializers and the hyperparameters say the same word.
_INITIALIZERS = {"normal": "sigma", "uniform": "scale", "constant": "value"}


def symbol_json(
    predictor_type: str, feature_dim: int, num_factors: int, hyperparameter_strings: Mapping[str, str]
) -> str:
    """Return the text of `symbol.json`.

    Parameters
    ----------
    predictor_type : {"regressor", "binary_classifier"}
    feature_dim, num_factors : int
    hyperparameter_strings : mapping of str to str
        The job's configuration; a name that is absent has its default.

    Returns
    -------
    text : str
    """
    settings = {name: str(p.default) for name, p in parameters().items()} | dict(hyperparameter_strings)

    def parameter(group: str, shape: tuple[int, ...], stype: str | None) -> dict[str, str]:
        attributes = {
            "__init__": _initializer(settings, group),
            "__lr_mult__": str(float(settings[f"{group}_lr"])),
            "__shape__": str(shape),
            "__storage_type__": stype,
            "__wd_mult__": str(float(settings[f"{group}_wd"])),
        }
        return {name: value for name, value in attributes.items() if value is not None}

    columns = {"axis": "1", "keepdims": "True"}
    nodes: list[tuple[str, str, list[str], dict[str, str]]] = [
        ("data", "null", [], {"__storage_type__": _CSR}),
        ("w1_weight", "null", [], parameter("linear", (feature_dim, 1), _ROW_SPARSE)),
        ("dot0", "dot", ["data", "w1_weight"], {}),
        ("w0_weight", "null", [], parameter("bias", (1,), None)),
        ("broadcast_plus0", "broadcast_add", ["dot0", "w0_weight"], {}),
        ("v", "null", [], parameter("factors", (feature_dim, num_factors), _ROW_SPARSE)),
        ("dot2", "dot", ["data", "v"], {}),
        ("Square", "square", ["dot2"], {}),
        ("_mulscalar0", "_mul_scalar", ["Square"], {"scalar": "0.5"}),
        ("concat0", "Concat", ["broadcast_plus0", "_mulscalar0"], {"dim": "1", "num_args": "2"}),
        ("sum0", "sum", ["concat0"], columns),
        ("x_square", "square", ["data"], {}),
        ("_square_sum0", "_square_sum", ["v"], columns),
        ("dot1", "dot", ["x_square", "_square_sum0"], {}),
        ("negative0", "negative", ["dot1"], {}),
        ("_mulscalar1", "_mul_scalar", ["negative0"], {"scalar": "0.5"}),
        ("Final_Summation", "elemwise_add", ["sum0", "_mulscalar1"], {}),
        ("out_label", "null", [], {}),
        ("out", _OUTPUTS[predictor_type], ["Final_Summation", "out_label"], {}),
    ]
    number = {name: i for i, (name, *_) in enumerate(nodes)}
    graph: dict[str, Any] = {
        "nodes": [
            {"op": op, "name": name}
            | ({"attrs": attributes} if attributes else {})
            | {"inputs": [[number[source], 0, 0] for source in inputs]}
            for name, op, inputs, attributes in nodes
        ],
        "arg_nodes": [i for i, (_, op, *_) in enumerate(nodes) if op == "null"],
        "node_row_ptr": list(range(len(nodes) + 1)),
        "heads": [[number["out"], 0, 0]],
        "attrs": {"mxnet_version": ["int", _MXNET_VERSION]},
    }
    return json.dumps(graph, indent=2)


def _initializer(settings: Mapping[str, str], group: str) -> str:
    method = settings[f"{group}_init_method"]
    argument = _INITIALIZERS[method]
    return json.dumps([method, {argument: float(settings[f"{group}_init_{argument}"])}])
