"""The two examples of local_test, each run by its SDK, and what docs/how-to/local_mode.md shows of them."""

import json
import re

import pytest

from tests.conftest import ROOT

PAGE = ROOT / "docs/how-to/local_mode.md"
ACCURACY = re.compile(r"test binary_classification_accuracy <score>=(\S+)")

#: What of a run the page shows: the container's lines but for the longest, and all that the example prints.
CONTAINER = re.compile(r"^(?:\w{10}-)?(algo-1)(?:-\w{5})?(?:-1)? +\| ")
LEFT_OUT = re.compile(
    r"\| (#metrics|\[.{27,60}\] (Reading default|Merging with|Final config))|epoch=(\d|1[0-8])\b|epoch_stats"
    r"|#throughput_metric|completed \d{1,2}\.\d % of epochs"
)
PRINTED = re.compile(r"^(--- |model\.tar\.gz holds|JSON: |RecordIO: |\{\"score\")")


def transcript(output):
    """Take the lines that the page shows of what an example printed."""
    # The container writes whenever it likes, also into a line of the example's: a code for terminals comes before it.
    lines = re.split(r"\x1b\[2K|[\r\n]+", output)
    shown = [CONTAINER.sub(r"\1 | ", line) for line in lines if PRINTED.match(line) or CONTAINER.match(line)]
    shown = [re.sub(r"algo-1-\w{5}\b", "algo-1-abcde", line) for line in shown if not LEFT_OUT.search(line)]
    return [("\n" + line if line.startswith("---") else line) for line in shown]


def section(page, version):
    """Find the transcript of one version in the page: its start and its end."""
    found = re.search(rf"^## Version {version}\n.*?^```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert found, f"{PAGE} has no transcript of version {version}"
    return found.span(1)


@pytest.fixture
def ran(sdk, image, local_test):
    """Run the example, once."""
    done = sdk.run(local_test, local_test / sdk.example, image)
    assert done.code == 0, done.output[-5000:]
    return done


def test_the_example_trains_serves_and_transforms_without_aws(sdk, ran, request):
    assert ran.refused == []
    assert float(ACCURACY.search(ran.output)[1]) > 0.6
    assert "model.tar.gz holds baseline.json, model_algo-1" in ran.output
    as_json, as_recordio = (
        json.loads(re.search(rf"{name}: +(\[.*?\])", ran.output)[1]) for name in ("JSON", "RecordIO")
    )
    transformed = [json.loads(row)["score"] for row in re.findall(r'\{"score":[^}]*\}', ran.output)]
    assert len(as_json) == 10
    assert as_json == as_recordio
    assert as_json == pytest.approx(transformed, abs=1e-4)

    page = PAGE.read_text()
    start, end = section(page, sdk.version)
    now = "\n".join(transcript(ran.output)).strip() + "\n"
    if request.config.getoption("--write-transcript"):
        PAGE.write_text(page[:start] + now + page[end:])
    else:
        assert what_the_example_printed(page[start:end]) == what_the_example_printed(now)


def what_the_example_printed(text):
    """Leave the containers out, and what differs from machine to machine."""
    return [re.sub(r"\d", "0", line) for line in text.splitlines() if PRINTED.match(line)]
