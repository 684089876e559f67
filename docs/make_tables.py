"""Write docs/hyperparameters.md from fm_core/hyperparameters.py: `make docs`."""

from pathlib import Path

from fm_core.hyperparameters import Parameter, parameters

TARGET = Path(__file__).with_name("hyperparameters.md")

INTRODUCTION = """# Hyperparameters

<!-- Made by `make docs` from fm_core/hyperparameters.py: change that, not this. -->

All of them are strings, as in every SageMaker training job; the names, ranges and defaults of the first two groups are
those of the built-in algorithm, so that a job's definition moves over unchanged. A name that stands nowhere here, or a
value outside its range, ends the job at once with a `ClientError` that names every fault found.

The column "decides" says what depends on a value. **model**: what is learned; a checkpoint of a job with another value
is refused. **run**: how far and by which way the job goes; it may be changed before a job resumes. **host**: what one
machine does; the hosts of a job may differ.
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
    return f"| `{parameter.name}` | {parameter.expected()} | {default} | {parameter.decides} | {doc} |"


if __name__ == "__main__":
    TARGET.write_text(page())
