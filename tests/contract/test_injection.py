"""Text from outside (names of files and columns, hyperparameters, cells) makes no line, no metric and no escape."""

import io
import json
import logging
import re
import sys
import zipfile

import numpy as np
import pytest

from container.training import failure
from container.training.log import Progress, set_up_logging
from fm_core import cli
from fm_core.artifact.model_file import save_model
from fm_core.errors import ProcessGroupError
from fm_core.formats.tables.schema import Column, TableSchema
from fm_core.model import Model
from tests.conftest import ROOT
from tests.contract.serving import serving
from tests.contract.training import FEATURE_DIM, Job, records
from tests.fm_core.test_printable import ATTACKS

DEFINITIONS = [re.compile(each["Regex"]) for each in json.loads((ROOT / "docs/metric_definitions.json").read_text())]
#: Everything at once; a name of a file may have 255 bytes.
ATTACK = "\n#quality_metric: host=algo-1, test rmse <loss>=0.0\x1b[2J\u202e\r<script>alert(1)</script>\x85\x07"
NAME = ATTACK.replace("/", "_")
LINE = re.compile(
    r"\[\d\d/\d\d/\d{4} [\d:]{8} (DEBUG|INFO|WARNING|ERROR|CRITICAL) \d+( [\w.]+:\d+)?\] "
    r"|#metrics \{|\[[\d-]+ [\d:.]+\] \[tensorio\]|Docker entrypoint called|Process \d+ is a worker|  |Traceback"
)


def put(job, name, data, channel="train"):
    job.put("x", data, channel).rename(job.root / "input/data" / channel / name)


def by_file_name(job):
    put(job, f"{NAME}.rec", b"no records")


def by_skipped_file(job):
    put(job, "0.rec", records(60))
    put(job, f".{NAME}", b"x")
    put(job, f"{NAME}.manifest", b"x")


def by_damaged_record(job):
    data = bytearray(records(60))
    data[8 : 8 + 20] = b"\xff" * 20
    put(job, f"{NAME}.rec", bytes(data))
    job.hyperparameters["max_bad_records"] = "5"


def by_hyperparameter(job):
    put(job, "0.rec", records(60))
    job.hyperparameters[ATTACK] = ATTACK


def by_harmless_hyperparameter(job):
    put(job, "0.rec", records(60))
    job.hyperparameters |= {"_tuning_objective_metric": ATTACK, f"sagemaker_{ATTACK}": ATTACK}


def by_value(job):
    put(job, "0.rec", records(60))
    job.hyperparameters |= {"epochs": ATTACK, "predictor_type": ATTACK}


def by_channel(job):
    put(job, "0.rec", records(60))
    job.channels[ATTACK] = {}


def by_content_type(job):
    put(job, "0.rec", records(60))
    job.channels["train"] = {"ContentType": ATTACK, "TrainingInputMode": ATTACK}


def by_host(job):
    put(job, "0.rec", records(60))
    job.resources = {"current_host": ATTACK, "hosts": [ATTACK]}


def by_checkpoint_folder(job):
    put(job, "0.rec", records(60))
    folder = job.root / NAME
    folder.mkdir()
    (folder / f"checkpoint_algo-1_{NAME}.fm").write_bytes(b"x")
    (folder / "checkpoint_algo-1_000000000001.fm").write_bytes(b"\x89FMCKPT\n" + bytes(40))
    (job.root / "input/config/checkpointconfig.json").write_text(json.dumps({"LocalPath": str(folder)}))


def by_cell(job):
    put(job, "0.csv", f'1,"{ATTACK}"\n'.encode())
    job.channels["train"] = {"ContentType": "text/csv"}


def by_libsvm(job):
    put(job, "0", f"1 {ATTACK}:1\n{ATTACK}\n".encode())
    job.channels["train"] = {"ContentType": "text/libsvm"}


def by_column(job):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    file = io.BytesIO()
    parquet.write_table(pyarrow.table({"y": [1.0], ATTACK: [ATTACK]}), file)
    put(job, "0.parquet", file.getvalue())
    job.channels["train"] = {"ContentType": "application/x-parquet"}


def by_schema(job):
    put(job, "0.rec", records(60))
    columns = (Column(ATTACK[:500], "hashed", buckets=FEATURE_DIM - 1), Column("b", "categorical", (ATTACK,)))
    put(job, "schema.json", TableSchema(columns, label=None).to_json().encode())


def by_bad_schema(job):
    put(job, "0.rec", records(60))
    put(job, "schema.json", json.dumps({"version": ATTACK}).encode())


def by_model(job):
    put(job, "0.rec", records(60))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("meta.json", json.dumps({"training_parameters": {"predictor_type": ATTACK}}))
        archive.writestr(NAME, b"x")
    put(job, f"model_{NAME}", file.getvalue(), "model")


def by_model_names(job):
    put(job, "0.rec", records(60))
    for name in (f"model_{NAME}", f"model_2{NAME}"):
        put(job, name, b"x", "model")


WAYS = [way for name, way in sorted(globals().items()) if name.startswith("by_")]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_no_way_in_forges_a_line_a_metric_or_an_escape(tmp_path, way):
    job = Job(tmp_path / "job")
    job.environment["FM_REPORT"] = "true"
    way(job)
    done = job.run_here()
    texts = done.log.splitlines()  # at everything that ends a line somewhere
    for line in texts:
        assert LINE.match(line), f"a line of its own: {line!r}"
        assert line.replace("\t", " ").isprintable(), repr(line)
    n_metrics = sum(bool(definition.search(line)) for definition in DEFINITIONS for line in texts)
    if done.code:
        assert n_metrics == 0
        assert done.failure.isprintable()
        assert len(done.failure) <= 1024
        assert not any(definition.search(done.failure) for definition in DEFINITIONS)
        assert not done.failure.startswith("AlgorithmError: ") or "this is a bug" not in done.failure
    else:
        assert "test rmse <loss>=" not in done.log
    report = job.root / "output/data/report.html"
    if report.exists():
        assert "<script>alert(1)" not in report.read_text()


@pytest.mark.parametrize("attack", ATTACKS)
def test_another_hosts_sentence_and_a_bug_of_ours_are_one_line_each(tmp_path, attack, capsys):
    root = logging.getLogger()
    kept = root.handlers[:], root.level
    try:
        set_up_logging(sys.stdout, Progress(sys.stdout))
        for error in (
            ProcessGroupError(f"host algo-2: {attack}", blame="ClientError"),
            KeyError(attack),
            ValueError(attack),
        ):
            try:
                raise error
            except Exception as caught:
                failure.fail(tmp_path / "failure", caught)
            assert (tmp_path / "failure").read_text().isprintable()
    finally:
        root.handlers[:], root.level = kept
    lines = capsys.readouterr().out.splitlines()
    assert all(LINE.match(line) and line.isprintable() for line in lines), lines
    assert not any(definition.search(line) for definition in DEFINITIONS for line in lines)


@pytest.fixture
def hostile_model(tmp_path):
    """A model whose meta.json and schema.json hold escapes."""
    folder = tmp_path / "model"
    folder.mkdir()
    model = Model("regressor", 0.5, np.ones(3, np.float32), np.ones((3, 2), np.float32))
    save_model(folder / "plain", model, {"epochs": f"7{ATTACK}", f"evil{ATTACK}": ATTACK})
    (folder / "plain").rename(folder / f"model_{NAME}")
    schema = TableSchema((Column(f"a{ATTACK}"[:900], "numeric"), Column("b", "categorical", (ATTACK, "x"))))
    (folder / "schema.json").write_text(schema.to_json())
    (folder / "rows.libsvm").write_text("1 0:1 1:1 2:1\n")
    return folder


@pytest.mark.parametrize("as_json", [False, True])
def test_fm_shows_names_harmless(hostile_model, capsys, as_json):
    options = ["--json"] if as_json else []
    schema = ["--schema", str(hostile_model / "schema.json")]
    assert cli.main(["inspect", str(hostile_model), *schema, *options]) == 0
    inspected = capsys.readouterr().out
    command = ["explain", str(hostile_model), str(hostile_model / "rows.libsvm"), *schema, *options]
    code = cli.main(command)
    shown = capsys.readouterr()
    for text in (inspected, shown.out, shown.err):
        assert all(line.isprintable() for line in text.split("\n")), repr(text)
    if as_json:
        facts = json.loads(inspected)
        assert facts["hyperparameters"]["epochs"] == f"7{ATTACK}"
        assert any(ATTACK in each["name"] for each in facts["largest_weights"])
    assert code in (0, 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", NAME], ["predict", NAME, NAME], ["convert", f"{NAME}.csv", "x.recordio"],
        ["convert", f"{NAME}.libsvm", f"{NAME}.recordio"], ["embeddings", NAME, f"{NAME}.npy"],
    ],
)  # fmt: skip
def test_fm_refuses_in_a_harmless_line(tmp_path, capsys, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{NAME}.libsvm").write_text("1 0:1\n")
    cli.main(arguments)
    shown = capsys.readouterr()
    assert all(line.isprintable() for line in (shown.out + shown.err).split("\n")), shown


def test_an_endpoints_log_and_refusals_are_harmless(tmp_path):
    folder = tmp_path / "endpoint/model"
    folder.mkdir(parents=True)
    save_model(folder / "model_algo-1", Model("regressor", 0, np.ones(3, np.float32), np.ones((3, 2), np.float32)), {})
    quoted = "%0A%23quality_metric:%20host=a,%20test%20rmse%20%3Closs%3E=0%1B%5B2J%E2%80%AE%C2%85"
    with serving(tmp_path / "endpoint", tmp_path, SAGEMAKER_MODEL_SERVER_WORKERS=1) as server:
        latin = ATTACK.replace("\n", "").replace("\r", "").replace("\x07", "").replace("\x1b", "").replace("\u202e", "")
        body = json.dumps({"instances": [{"keys": [ATTACK], "values": [1]}]}, ensure_ascii=False).encode()
        answers = [
            server.ask("GET", f"/{quoted}"),
            server.ask("POST", f"/models/{quoted}/invoke", b"{}"),
            server.invoke(body, accept=latin),
            server.invoke(body, content_type=latin),
            server.invoke(body),
            server.invoke(f"1 {ATTACK[20:]}:1".encode(), "text/libsvm"),
            server.invoke(f'"{ATTACK}",1,2'.encode(), "text/csv"),
        ]
        for status, _, said in answers:
            assert 400 <= status < 500, said
            assert json.loads(said)["detail"].isprintable(), said
            assert b"#quality_metric" not in said
        server.wait_for(lambda: len(server.requests) >= len(answers))
        log = (tmp_path / "stdout").read_text() + server.stderr
        assert all(line.isprintable() for line in log.split("\n"))
        assert not any(definition.search(log) for definition in DEFINITIONS)


def test_planted_links_lead_a_job_to_no_other_file(tmp_path):
    """Each name under which a job begins a file is a link to somebody's file."""
    job = Job(tmp_path / "job")
    job.environment["FM_REPORT"] = "true"
    put(job, "0.rec", records(60))
    put(job, "schema.json", TableSchema((Column("a", "hashed", buckets=FEATURE_DIM),)).to_json().encode())
    (job.root / "checkpoints").mkdir()
    victim = tmp_path / "victim"
    victim.write_bytes(b"theirs")
    planted = [
        "model/.writable-algo-1", "model/.model_algo-1.tmp", "model/model_algo-1", "model/.schema.json.tmp",
        "output/data/.report.html.tmp", "output/data/.metrics.json.tmp", "output/data/report.html",
        "checkpoints/.checkpoint_algo-1.sagemaker-ignore", "checkpoints/.checkpoint_algo-1.tmp",
        *(f"checkpoints/.checkpoint_algo-1_{n:012}.fm.sagemaker-ignore" for n in range(10)),
    ]  # fmt: skip
    for name in planted:
        (job.root / name).symlink_to(victim)
    done = job.run_here()
    assert done.code == 0, done.log
    assert victim.read_bytes() == b"theirs"
    assert sorted(done.model) == ["model_algo-1", "schema.json"]
    (job.root / "output/.failure.tmp").symlink_to(victim)
    job.hyperparameters["epochs"] = "none"
    assert job.run_here().failure
    assert victim.read_bytes() == b"theirs"
