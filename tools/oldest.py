"""Write the lowest versions that the distributions accept, as constraints of pip: `make test-oldest`.

usage: python tools/oldest.py > FILE
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: Extras whose lowest versions are tried with the rest; those of PyTorch are tried by `make test-torch`, as pinned.
EXTRAS = ("completion", "parquet", "progress", "sklearn")

#: What people bring along, whose lowest versions `dev` names.
BROUGHT = ("pandas", "polars", "jsonschema")


def lowest(requirements: list[str]) -> list[str]:
    """Turn ``name>=version`` into ``name==version``; what is pinned already belongs to this project."""
    return [re.sub(">=", "==", each) for each in requirements if ">=" in each]


def main() -> int:
    """Write them."""
    found = set()
    for path in (ROOT / "pyproject.toml", ROOT / "container/pyproject.toml"):
        project = tomllib.loads(path.read_text())["project"]
        found.update(lowest(project["dependencies"]))
        for extra in EXTRAS:
            found.update(lowest(project.get("optional-dependencies", {}).get(extra, [])))
        brought = project.get("optional-dependencies", {}).get("dev", [])
        found.update(lowest([each for each in brought if re.match(r"[\w-]+", each)[0] in BROUGHT]))  # type: ignore[index]
    print("\n".join(sorted(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
