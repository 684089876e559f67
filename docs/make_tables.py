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

All values are strings, as in every SageMaker training job. The first two groups have the names, ranges and defaults of
the built-in algorithm, so the definition of a job can stay unchanged. An unknown name, or a value outside its range,
ends the job at once with a `ClientError` that lists every problem.

The column "affects" says what depends on a value. **model**: the trained model; a checkpoint of a job with another
value is refused. **run**: how long and in which way the job runs; you may change it before a job resumes. **host**:
the work of one machine; the hosts of a job may differ.

Learning rates, weight decay, initial values and parameters marked "minibatch only" belong to the mini-batch update.
With another solver they have no effect; a job logs that for each one that is set, and the estimators warn.
"""

GROUPS = {
    "documented": "## Documented by Amazon\n",
    "hidden": """## Undocumented

The built-in prints these in its default configuration and accepts them, so this project accepts them too.
""",
    "extension": """## Extensions

The built-in has none of these. With the defaults, training behaves as the built-in does.
""",
}


HEAD = "| name | value | default | affects | meaning |\n| --- | --- | --- | --- | --- |\n"


def page() -> str:
    """Make the whole page."""
    parts = [INTRODUCTION]
    for group, heading in GROUPS.items():
        rows = [row(parameter) for parameter in parameters().values() if parameter.group == group]
        parts += [
            heading,
            "| name | value | default | affects | meaning |\n| --- | --- | --- | --- | --- |\n"
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
