"""A model as an ONNX graph: scores in Java, C++, C# or a browser, without this library.

Inputs are rows of one width, `indices` and `values`; a row with fewer features is filled up with any index and the
value 0. The output is `scores`, those of `Model.predict`: the graph computes in float64, as s^2 minus a sum of squares
would lose the digits of float32. Factors stay float32 in the file.

    score = w0 + sum_i w_i x_i + 1/2 sum_f ((sum_i v_if x_i)^2 - sum_i (v_if x_i)^2)
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fm_core.atomic_file import atomic_write
from fm_core.errors import ConfigError

if TYPE_CHECKING:
    from fm_core.model import Model

__all__ = ["MOST_BYTES", "save_onnx"]

#: A protocol buffer holds no more.
MOST_BYTES = 2**31 - 2**20

#: Operators as of ONNX 1.8, which every runtime of today has.
_OPSET, _IR_VERSION = 13, 7


def save_onnx(path: Path, model: "Model") -> None:
    """Write a model as an ONNX file, whole or not at all.

    Parameters
    ----------
    path : Path
    model : Model

    Raises
    ------
    ConfigError
        onnx is absent, or the model is larger than an ONNX file can be.
    """
    n_bytes = 4 * model.feature_dim * (model.num_factors + 1)
    if n_bytes > MOST_BYTES:
        raise ConfigError(
            f"the model has {n_bytes} bytes of parameters, expected at most {MOST_BYTES}, the limit of an ONNX file"
        )
    try:
        from onnx import TensorProto, checker, helper, numpy_helper
    except ImportError as error:
        raise ConfigError("ONNX needs the package onnx, which cannot be imported here: pip install onnx") from error

    double = {"to": TensorProto.DOUBLE}
    nodes: list[tuple[Any, ...]] = [
        ("Gather", ["V", "indices"], "v", {"axis": 0}),
        ("Cast", ["v"], "v64", double),
        ("Gather", ["w", "indices"], "w_i", {"axis": 0}),
        ("Cast", ["w_i"], "w64", double),
        ("Cast", ["values"], "x", double),
        ("Unsqueeze", ["x", "last"], "x_f"),
        ("Mul", ["v64", "x_f"], "terms"),
        ("ReduceSum", ["terms", "entries"], "s", {"keepdims": 0}),
        ("Mul", ["s", "s"], "s2"),
        ("Mul", ["terms", "terms"], "squares"),
        ("ReduceSum", ["squares", "entries"], "own", {"keepdims": 0}),
        ("Sub", ["s2", "own"], "twice"),
        ("ReduceSum", ["twice", "entries"], "twice_pairs", {"keepdims": 0}),
        ("Mul", ["twice_pairs", "half"], "pairs"),
        ("Mul", ["w64", "x"], "of_w"),
        ("ReduceSum", ["of_w", "entries"], "linear", {"keepdims": 0}),
        ("Add", ["linear", "pairs"], "without_bias"),
        ("Add", ["without_bias", "w0"], "z"),
        *_scored(model),
        ("Cast", ["score64"], "scores", {"to": TensorProto.FLOAT}),
    ]
    constants: dict[str, Any] = {
        "V": np.ascontiguousarray(model.V, np.float32),
        "w": np.ascontiguousarray(model.w, np.float32),
        "w0": np.array(model.w0, np.float64),
        "half": np.array(0.5, np.float64),
        "entries": np.array([1], np.int64),
        "last": np.array([-1], np.int64),
    }
    if model.score_range is not None:
        constants |= {name: np.array(end, np.float64) for name, end in model.score_range._asdict().items()}
    graph = helper.make_graph(
        [helper.make_node(kind, of, [output], **dict(*more)) for kind, of, output, *more in nodes],
        "factorization_machine",
        [
            helper.make_tensor_value_info("indices", TensorProto.INT64, ["rows", "entries"]),
            helper.make_tensor_value_info("values", TensorProto.FLOAT, ["rows", "entries"]),
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows"])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made = helper.make_model(
        graph, producer_name="factorization-machines", opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )  # fmt: skip
    helper.set_model_props(
        made,
        {
            "predictor_type": model.predictor_type,
            "feature_dim": str(model.feature_dim),
            "num_factors": str(model.num_factors),
        },
    )
    checker.check_model(made)
    with atomic_write(path) as file:
        file.write(made.SerializeToString())


def _scored(model: "Model") -> list[tuple[Any, ...]]:
    if model.is_classifier:
        return [("Sigmoid", ["z"], "score64")]
    if model.score_range is None:
        return [("Identity", ["z"], "score64")]
    return [("Clip", ["z", "least", "greatest"], "score64")]
