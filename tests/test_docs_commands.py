"""Every command and every snippet of README and docs is run by a test, or stands here with the reason why not.

A block of shell or Python is known by its page and its first line. A block that is new belongs
into one of the tables, or the first test fails.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.contract.serving import free_port

#: Pages whose blocks are run from top to bottom, by which test.
WHOLE_PAGES = {
    "docs/how-to/convert.md": "tests/fm_core/cli/test_docs_convert.py",
    "docs/how-to/python.md": "tests/test_docs_python.py",
    "docs/tutorials/recommender.md": "tests/test_docs_recommender.py",
    "docs/how-to/train.md": "tests/fm_core/tabular/test_docs_train.py",
    "docs/tutorials/tutorial.md": "tests/test_docs_commands.py",
}

#: Blocks that another test runs.
ELSEWHERE = {
    ("README.md", "python -m pip install . ./container"): "tests/test_package.py",
    (
        "README.md",
        "make demo    # train a model on real data, serve it, ask it, and compare the answers with the truth",
    ): "tests/local_test",
    (
        "docs/how-to/image.md",
        "make image                                   # or: docker build -t factorization-machines .",
    ): "tests/image",
    (
        "docs/how-to/image.md",
        'docker run --rm -v "$PWD/local_test/test_dir:/opt/ml" factorization-machines train',
    ): "tests/image",
    ("docs/how-to/image.md", "docker run --rm -d --name fm -p 127.0.0.1:8080:8080 \\"): "tests/image",
    (
        "docs/how-to/image.md",
        "curl --silent --show-error --fail-with-body http://127.0.0.1:8080/invocations \\",
    ): "tests/image",
    ("docs/how-to/image.md", "docker stop fm"): "tests/image",
    ("README.md", "estimator = Estimator("): "tests/local_mode",  # from local_test/local_mode.py, which is run there
    ("docs/reference/artifact.md", "import mxnet as mx"): "tests/fm_core/artifact/test_model_file.py",
    ("docs/reference/artifact.md", "import struct"): "tests/fm_core/artifact/test_model_file.py",
    ("docs/how-to/install.md", "git clone REPOSITORY factorization-machines"): "tests/test_package.py",
    (
        "docs/how-to/install.md",
        "python -m pip install dist/factorization_machines-*-cp311-manylinux*_x86_64.whl \\",
    ): "tests/test_package.py",
    ("docs/how-to/gpu.md", "from fm_core.solvers.minibatch_torch import DenseDevice"): "tests/torch",
    ("docs/how-to/local_mode.md", "make image"): "tests/image",
    ("docs/how-to/local_mode.md", "pip install 'sagemaker[local]<3'"): "tests/local_mode",
    ("docs/how-to/local_mode.md", "pip install 'sagemaker>=3'"): "tests/local_mode",
}

#: Blocks that cannot be run by a test.
NOWHERE = {
    (
        "docs/how-to/install.md",
        "python -m pip install 'git+REPOSITORY'",
    ): "needs the address of a repository that this one does not know",
    (
        "docs/how-to/image.md",
        "repository=$ACCOUNT.dkr.ecr.$REGION.amazonaws.com/factorization-machines",
    ): "pushes to an AWS account",
    ("docs/how-to/image.md", "from sagemaker.estimator import Estimator"): "starts a job in an AWS account",
    ("docs/how-to/migration.md", "from sagemaker.estimator import Estimator"): "starts a job in an AWS account",
    (
        "docs/how-to/report.md",
        'estimator = Estimator(image_uri=..., environment={"FM_REPORT": "false"})',
    ): "is for an AWS account",
}

DATA = """
import io
from pathlib import Path

import numpy as np
import scipy.sparse

from fm_core.batch import Batch
from fm_core.formats import write_records
from fm_core.hyperparameters import Hyperparameters
from fm_core.training.fit import fit

matrix = rows = scipy.sparse.random(200, 12, 0.3, "csr", np.float32, random_state=np.random.default_rng(0))
labels = np.arange(200, dtype=np.float32) % 5
batch = Batch(12, rows.data, rows.indptr.astype(np.int64), rows.indices.astype(np.int32), labels)
hyperparameters = Hyperparameters(feature_dim=12, num_factors=2, predictor_type="regressor", epochs=2)
batches = lambda epoch: [batch]
"""

MODEL = (
    DATA
    + """
import os, tarfile

from fm_core.artifact.model_file import save_model

save_model("model_algo-1", fit(batches, hyperparameters).model, {"epochs": "2"})
with tarfile.open("model.tar.gz", "w:gz") as tar:
    tar.add("model_algo-1")
write_records(open("test.recordio", "wb"), rows, labels)
"""
)

PURCHASES = """
import random

random.seed(0)
for name in ("purchases", "march", "new"):
    lines = ["customer,age,country,bought"]
    for i in range(400):
        age, country = random.randint(18, 80), random.choice("de fr it".split())
        lines.append(f"c{i},{age},{country},{'yes' if age > 50 or country == 'it' else 'no'}")
    open(f"{name}.csv", "w").write("\\n".join(lines) + "\\n")
"""

#: Blocks that are run here, each in a folder of its own: the Python that comes before, and a command that has to
#: succeed after.
RUN = {
    (
        "README.md",
        "fm train purchases.csv --label bought --out model       # prints how good it is, on rows held out",
    ): (PURCHASES, "head -1 scores.csv | grep -q '^customer,' && test $(wc -l < scores.csv) = 401"),
    ("README.md", "from fm_core import FMRegressor"): (DATA, "fm inspect model_algo-1"),
    ("docs/reference/artifact.md", "tar xzf model.tar.gz"): (
        MODEL, "test -s model-symbol.json -a -s model-0000.params"),
    ("docs/reference/artifact.md", "from fm_core.artifact import load_model, read_meta"): (MODEL, "true"),
    ("docs/explanation/bayes.md", "from fm_core.solvers.bayes.solver import collect, sample_model"): (
        DATA + "batches, feature_dim = [batch], 12\n", "true"),
    ("docs/explanation/bayes.md", "scores, std = FMRegressor().fit(X, y).predict(X_new, return_std=True)"): (
        DATA + "import os\nfrom fm_core import FMRegressor, load_model\nX = X_new = rows\ny = labels\n"
        "os.mkdir('model')\nFMRegressor(epochs=20).fit(X, y).save('model')\n", "true"),
    ("docs/reference/formats.md", "from fm_core.formats import write_records"): (DATA, "fm convert train.rec x.libsvm"),
    ("docs/how-to/migration.md", "fm inspect model.tar.gz"): (MODEL, "test $(wc -l < scores.txt) = 200"),
    ("docs/how-to/report.md", "from fm_core.report import write_report"): (DATA, "grep -q '</html>' report.html"),
    ("docs/how-to/report.md", "fm report model_a model_b"): (
        PURCHASES + "import subprocess\nfor name in ('model_a', 'model_b'):\n    subprocess.run(\n"
        "        ['fm', 'train', 'purchases.csv', '--label', 'bought', '--out', name, '--quiet'], check=True)\n",
        "grep -q '</html>' compared.html"),
}  # fmt: skip

NEEDS = {("docs/reference/artifact.md", "tar xzf model.tar.gz"): "unzip"}


def blocks(page):
    found = re.findall(r"^```(sh|python)\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    return {(page, text.splitlines()[0]): (kind, text) for kind, text in found}


PAGES = ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]
BLOCKS = {key: block for page in PAGES if page not in WHOLE_PAGES for key, block in blocks(page).items()}


def test_every_block_is_run_or_has_a_reason():
    assert set(BLOCKS) == {*RUN, *ELSEWHERE, *NOWHERE}


@pytest.mark.parametrize("place", sorted({*WHOLE_PAGES.values(), *ELSEWHERE.values()}))
def test_what_runs_them_elsewhere_exists(place):
    assert (ROOT / place).exists()


def run(script, folder, **environment):
    """Run a script of bash with this environment's commands."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", "set -euo pipefail\n" + script],
        cwd=folder, env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip


@pytest.mark.parametrize(("page", "first_line"), RUN, ids=[f"{page} {line[:40]}" for page, line in RUN])
def test_a_block_runs(page, first_line, tmp_path):
    before, after = RUN[page, first_line]
    kind, text = BLOCKS[page, first_line]
    needed = NEEDS.get((page, first_line), "bash")
    if shutil.which(needed) is None:
        pytest.skip(f"{needed} is absent")
    (tmp_path / "before.py").write_text(before + (text if kind == "python" else ""))
    done = run(f"python before.py\n{text if kind == 'sh' else ''}{after}", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is absent")
def test_the_tutorial_runs_from_top_to_bottom_and_ends_with_good_answers(tmp_path):
    page = (ROOT / "docs/tutorials/tutorial.md").read_text()
    found = re.findall(r"^```(sh|python)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    port = free_port()
    # The environment is this one's; all else is as it stands there.
    installs = "make develop\nsource .venv/bin/activate\n"
    assert found[0][1].startswith(installs)
    found[0] = ("sh", found[0][1].removeprefix(installs))
    script = "trap '[ -z \"${SERVER:-}\" ] || kill $SERVER 2>/dev/null || true' EXIT\n"
    for kind, text in found:
        text = text.replace("127.0.0.1:8080", f"127.0.0.1:{port}").replace("fm serve", f"fm serve --port {port}")
        script += text if kind == "sh" else f"python <<'PYTHON'\n{text}PYTHON\n"
    started = time.monotonic()
    done = run(script, tmp_path, SAGEMAKER_BIND_TO_PORT=str(port), SAGEMAKER_MODEL_SERVER_WORKERS="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - started < 300  # of the ten minutes, on a machine that has other work
    work = tmp_path / "work/tutorial"
    assert "visitor  categorical                        500 features" in done.stdout
    # on rows held out, and on new ones: the margins that the page states
    for figures in re.findall(r"cross entropy +([\d.]+) +([\d.]+)\n +accuracy +([\d.]+) +([\d.]+)", done.stdout):
        entropy, base_entropy, accuracy, base_accuracy = map(float, figures)
        assert entropy < 2 / 3 * base_entropy
        assert accuracy > base_accuracy + 0.05
    assert done.stdout.count("cross entropy   ") == 2
    assert "visitor=visitor" in done.stdout  # the schema beside the model names features
    assert len((work / "predicted.csv").read_text().splitlines()) == 2001
    (answer,) = json.loads((work / "answer.json").read_text())["predictions"]
    assert answer["score"] > 0.6  # visitor 7 likes gardens, and it is the hour of phones
    assert "visitor=visitor 7" in json.dumps(answer["explanation"])
    assert len((work / "scores.csv").read_text().splitlines()) == 99
    assert (work / "model/report.html").exists()
