"""Write what the docs take from declarations: `make docs`.

docs/reference/hyperparameters.md is made of fm_core/hyperparameters.py; the layers in docs/explanation/architecture.md
of import-linter's contracts in pyproject.toml; docs/openapi.json of the endpoint's media types and statuses.
"""

import json
import re
import tomllib
from pathlib import Path

from container.serving.openapi import describe
from fm_core.hyperparameters import Parameter, parameters

HYPERPARAMETERS = Path(__file__).with_name("reference") / "hyperparameters.md"
ARCHITECTURE = Path(__file__).with_name("explanation") / "architecture.md"
OPENAPI = Path(__file__).with_name("openapi.json")
CONTRACTS = Path(__file__).parent.with_name("pyproject.toml")

INTRODUCTION = """# Hyperparameters

<!-- Made by `make docs` from fm_core/hyperparameters.py: change that, not this. -->

All of them are strings, as in every SageMaker training job; the names, ranges and defaults of the first two groups are
those of the built-in algorithm, so that a job's definition moves over unchanged. A name that stands nowhere here, or a
value outside its range, ends the job at once with a `ClientError` that names every fault found.

The column "decides" says what depends on a value. **model**: what is learned; a checkpoint of a job with another value
is refused. **run**: how far and by which way the job goes; it may be changed before a job resumes. **host**: what one
machine does; the hosts of a job may differ.

Learning rates, weight decay, initial values and the like are of the mini-batch update, and so is what says "minibatch
only": with another solver they have no effect, and a job, or a warning of the estimators, says so of each that is
given.
"""

GROUPS = {
    "documented": "## Documented by Amazon\n",
    "hidden": """## Undocumented

The built-in prints these in its default configuration and takes them, so they are taken here.
""",
    "extension": """## Extensions

The built-in knows none of these; each default leaves its behaviour as it is.
""",
}


HEAD = "| name | value | default | decides | meaning |\n| --- | --- | --- | --- | --- |\n"


def page() -> str:
    """Make the whole page."""
    parts = [INTRODUCTION]
    for group, heading in GROUPS.items():
        rows = [row(parameter) for parameter in parameters().values() if parameter.group == group]
        parts += [
            heading,
            "| name | value | default | decides | meaning |\n| --- | --- | --- | --- | --- |\n"
            + "\n".join(rows)
            + "\n",
        ]
    return "\n".join(parts)


def row(parameter: Parameter) -> str:
    """Make the row of one hyperparameter."""
    if parameter.required:
        default = "required"
    elif parameter.default is None or parameter.default == "":
        default = "not set"
    elif isinstance(parameter.default, bool):
        default = f"`{str(parameter.default).lower()}`"
    else:
        default = f"`{parameter.default}`"
    doc = parameter.doc if parameter.has_effect else parameter.doc + " Accepted, but ignored."
    if parameter.group == "extension" and parameter.only_with:
        doc += f" ({' and '.join(parameter.only_with)} only)"
    return f"| `{parameter.name}` | {parameter.expected()} | {default} | {parameter.decides} | {doc} |"


def layers() -> str:
    """Draw the layers of each package, the uppermost first, as import-linter holds them."""
    contracts = tomllib.loads(CONTRACTS.read_text())["tool"]["importlinter"]["contracts"]
    drawn = []
    for contract in contracts:
        if contract["type"] == "layers":
            rows = [re.sub(r"\s*[|:]\s*", "   ", layer) for layer in contract["layers"]]
            drawn.append("\n".join([*contract["containers"], *("    " + row for row in rows)]))
    return "```\n" + "\n\n".join(drawn) + "\n```"


def architecture() -> str:
    """Make docs/explanation/architecture.md anew, with the layers of today."""
    text = ARCHITECTURE.read_text()
    return re.sub(
        r"(?<=<!-- layers: made by `make docs` -->\n).*?(?=\n<!-- end of layers -->)",
        lambda _: layers(),
        text,
        flags=re.S,
    )


def openapi() -> str:
    """Describe the endpoint of one model."""
    return json.dumps(describe(has_many_models=False), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    OPENAPI.write_text(openapi())
    HYPERPARAMETERS.write_text(page())
    ARCHITECTURE.write_text(architecture())
