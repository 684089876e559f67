"""The commands of docs/how-to/image.md, taken from it and run in their order."""

import json
import re
import subprocess

from tests.conftest import ROOT
from tests.image.conftest import docker

PAGE = ROOT / "docs/how-to/image.md"


def commands():
    """Take the shell commands of the section on the image, but for those that build it and make its data."""
    (section,) = re.findall(r"^## Try it\n(.*?)^## ", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    for block in re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL):
        for command in block.replace("\\\n", " ").splitlines():
            if command.strip() and not command.startswith("make "):
                yield command


def test_the_commands_of_the_page_work(image, local_test):
    answers = []
    try:
        for command in commands():
            done = subprocess.run(
                ["bash", "-c", command], cwd=local_test.parent, capture_output=True, text=True, check=False, timeout=120
            )
            assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
            if "/invocations" in command:
                answers.append(json.loads(done.stdout)["predictions"])
    finally:
        docker("rm", "--force", "fm", check=False)
    assert [len(predictions) for predictions in answers] == [1, 10]
    assert all(0 < p["score"] < 1 and p["predicted_label"] in (0, 1) for predictions in answers for p in predictions)
