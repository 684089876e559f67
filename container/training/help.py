"""``train --help``: every hyperparameter, made from the declarations in fm_core.hyperparameters."""

import argparse
import textwrap

from fm_core.hyperparameter_text import to_text
from fm_core.hyperparameters import Parameter, parameters

__all__ = ["argument_parser"]

DESCRIPTION = """\
Train a factorization machine by SageMaker's contract. Hyperparameters, channels and hosts
are read from input/config, data from input/data; the model is written to model, the reason
of a failure to output/failure. FM_OPT_ML sets another place.
"""


def argument_parser() -> argparse.ArgumentParser:
    """The arguments of ``train``: none but help, which lists the hyperparameters."""
    groups: dict[str, list[str]] = {}
    for parameter in parameters().values():
        groups.setdefault(parameter.group, []).append(_entry(parameter))
    parser = argparse.ArgumentParser(
        prog="train",
        description=DESCRIPTION,
        epilog="\n".join(f"{group} hyperparameters:\n{''.join(entries)}" for group, entries in groups.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("verb", nargs="?", choices=["train"], metavar="train", help="optional, ignored")
    return parser


def _entry(parameter: Parameter) -> str:
    default = f"Default: {to_text(parameter.default) or 'empty'}."
    if parameter.default is None:
        default = "Required." if parameter.required else "Not set by default."
    expected = parameter.expected()
    words = [parameter.doc, f"{expected[0].upper()}{expected[1:]}.", default]
    if not parameter.has_effect:
        words.append("Accepted, but ignored.")
    return f"  {parameter.name}\n{textwrap.indent(textwrap.fill(' '.join(words), 86), ' ' * 6)}\n"
