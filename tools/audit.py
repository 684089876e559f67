"""Look for known vulnerabilities in the pinned versions: `make audit`.

usage: python tools/audit.py CONSTRAINTS

pip-audit asks PyPI about each version, and ignores those for which it gets no answer. This tool counts and reports
them, so that an audit without answers does not look like one without findings.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

OPTIONS = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"]


def main() -> int:
    """Audit, or say why not.

    Returns
    -------
    status : int
        0 also if nothing could be asked; 1 if there is a hole.
    """
    pins = [line for line in Path(sys.argv[1]).read_text().splitlines() if "==" in line and not line.startswith("#")]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(pins) + "\n")
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "--requirement", file.name, *OPTIONS]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    try:
        answers = json.loads(done.stdout)["dependencies"]
    except ValueError:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"Nothing was audited: pip-audit could not ask PyPI ({reason}).")
        return 0
    passed_over = [each["name"] for each in answers if "skip_reason" in each]
    holes = [(each, hole) for each in answers for hole in each.get("vulns", [])]
    for each, hole in holes:
        fixed = ", ".join(hole["fix_versions"]) or "no version"
        print(f"{each['name']} {each['version']}: {hole['id']}, mended in {fixed}")
    if len(passed_over) == len(answers):
        print(f"Nothing was audited: what PyPI knows of vulnerabilities cannot be had here ({len(answers)} versions).")
        return 0
    n_audited = len(answers) - len(passed_over)
    print(f"{n_audited} versions audited, {len(holes)} vulnerable; not known: {passed_over or 'none'}")
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(main())
