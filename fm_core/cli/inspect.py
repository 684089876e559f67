"""Print what is in a model: sizes, hyperparameters, norms, and the features with the largest parameters."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from fm_core.analysis.inspection import factor_norms, largest, summarise
from fm_core.analysis.learned import learned
from fm_core.artifact.model_file import load_model, read_meta
from fm_core.cli import names
from fm_core.hyperparameter_text import to_text
from fm_core.hyperparameters import parameters
from fm_core.printable import printable, printable_json

__all__ = ["add_arguments", "run"]

#: Groups that are listed where people read; --json has all.
_MOST_GROUPS = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``fm inspect``."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="model_algo-1, its folder, or model.tar.gz")
    parser.add_argument("--top", type=int, default=10, metavar="N", help="number of features to list (default: 10)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    names.add_schema_argument(parser)
    names.add_names_argument(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print it."""
    facts = _facts(arguments)
    print(printable_json(json.dumps(facts, indent=2, ensure_ascii=False)) if arguments.json else _text(facts))


def _facts(arguments: argparse.Namespace) -> dict[str, Any]:
    model = load_model(arguments.model)
    name_of = names.feature_names(arguments, model.feature_dim)
    norms = factor_norms(model)

    def listed(values: Any) -> list[dict[str, Any]]:
        return [
            {"feature": int(i), "name": name_of(int(i)), "w": float(model.w[i]), "v_norm": float(norms[i])}
            for i in largest(values, max(arguments.top, 0))
        ]

    return {
        "model": str(arguments.model),
        "predictor_type": model.predictor_type,
        "feature_dim": model.feature_dim,
        "num_factors": model.num_factors,
        **dataclasses.asdict(summarise(model)),
        "score_range": model.score_range,
        "hyperparameters": read_meta(arguments.model)["training_parameters"],
        "largest_weights": listed(model.w),
        "largest_factors": listed(norms),
        "learned": None if model.spread is None else learned(model.spread),
    }


def _text(facts: dict[str, Any]) -> str:
    least, first, median, third, greatest = facts["v_norm_quantiles"]
    n = facts["n_parameters"]
    lines = [
        facts["model"],
        f"  {facts['predictor_type']}, {facts['feature_dim']:,} features, {facts['num_factors']} factors",
        f"  {n:,} parameters, {_bytes(4 * n)} as float32",
        "",
        f"  w0       {facts['w0']:.6g}",
        f"  w        norm {facts['w_norm']:.4g}, from {facts['w_range'][0]:.4g} to {facts['w_range'][1]:.4g}",
        f"  V        norm {facts['v_norm']:.4g}",
        f"  |v_i|    least {least:.4g}, quartiles {first:.4g}, {median:.4g}, {third:.4g}, greatest {greatest:.4g}",
    ]
    if facts["score_range"]:
        least, greatest = facts["score_range"]
        lines.append(f"  scores   bounded, from {least:.9g} to {greatest:.9g}")
    if facts["n_idle"]:
        lines.append(f"  features all of whose parameters are 0: {facts['n_idle']:,}")
    lines += _learned(facts["learned"])
    lines += ["", "hyperparameters other than their defaults"]
    lines += [f"  {name:<24} {value}" for name, value in _changed(facts["hyperparameters"])] or ["  none"]
    for title, key in (("largest linear weights w", "largest_weights"), ("longest factors v", "largest_factors")):
        if facts[key]:
            lines += ["", f"{title}", f"  {'feature':>10} {'w':>11} {'|v|':>11}  name"]
            lines += [f"  {f['feature']:>10} {f['w']:>11.4g} {f['v_norm']:>11.4g}  {f['name']}" for f in facts[key]]
    return "\n".join(printable(line, 1000) for line in lines)


def _learned(found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return []
    lines = ["", "learned in addition to the parameters (spread.npz)"]
    if found["noise"] is not None:
        lines.append(f"  noise    {found['noise']:.4g}, the standard deviation of labels around their scores")
    sweeps = found["sweeps"]
    if sweeps is not None:
        if sweeps["effective"] is None:
            said = "too few to say whether more would help"
        else:
            more = (
                f"more would gain {sweeps['gain']:.1g} nats a row"
                if sweeps["more_would_help"]
                else "more would hardly help"
            )
            said = f"worth {sweeps['effective']:.0f} independent ones: {more}"
        lines.append(f"  samples  {sweeps['samples']}, {said}")
    lines.append(f"  {'features of a group':>23} {'occurred':>10} {'prec. of w':>11} {'of v':>11}")
    lines += [
        f"  {group['first']!s:>10} to {group['last']!s:>9} {group['n_features']:>10,} {group['w_precision']:>11.4g} "
        f"{group['v_precision']:>11.4g}"
        for group in found["groups"][:_MOST_GROUPS]
    ]
    return lines


def _changed(stored: dict[str, Any]) -> list[tuple[str, Any]]:
    defaults = {name: to_text(parameter.default) for name, parameter in parameters().items()}
    shown_above = ("predictor_type", "feature_dim", "num_factors")
    return [
        (name, value) for name, value in sorted(stored.items())
        if value != defaults.get(name) and name not in shown_above
    ]  # fmt: skip


def _bytes(n: float) -> str:
    for unit in ("bytes", "KB", "MB"):
        if n < 1000:
            return f"{n:.4g} {unit}"
        n /= 1000
    return f"{n:.4g} GB"
