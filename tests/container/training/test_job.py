import json
import re
from pathlib import Path

import pytest

from container.training.job import Channel, Paths, read_job, read_object
from fm_core.errors import ConfigError

RECORDIO_PROTOBUF, PARQUET = "application/x-recordio-protobuf", "application/x-parquet"


@pytest.fixture
def paths(tmp_path):
    (tmp_path / "input/config").mkdir(parents=True)
    paths = Paths(tmp_path)
    write(paths.input_data_config, {"train": {}})
    return paths


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_every_path_lies_where_sagemaker_has_it():
    paths = Paths(Path("/opt/ml"))
    assert [str(path) for path in (paths.hyperparameters, paths.failure, paths.model_file("algo-1"))] == [
        "/opt/ml/input/config/hyperparameters.json",
        "/opt/ml/output/failure",
        "/opt/ml/model/model_algo-1",
    ]
    assert str(paths.channel("train")) == "/opt/ml/input/data/train"
    assert str(Channel("train", paths.channel("train")).fifo(3)) == "/opt/ml/input/data/train_3"


def test_every_key_has_a_default(paths):
    job = read_job(paths)
    assert dict(job.channels) == {"train": Channel("train", paths.channel("train"))}
    channel = job.channels["train"]
    assert (channel.mode, channel.content_type) == ("File", RECORDIO_PROTOBUF)
    assert (job.current_host, job.hosts, job.network_interface, job.checkpoint_folder) == (
        "algo-1", ("algo-1",), "eth0", None)  # fmt: skip


def test_every_key_is_read(paths):
    write(paths.input_data_config, {
        "train": {"ContentType": "Application/X-RecordIO-Protobuf; charset=utf-8", "TrainingInputMode": "Pipe",
                  "S3DistributionType": "ShardedByS3Key", "RecordWrapperType": "RecordIO", "CompressionType": "Gzip",
                  "SomethingNew": 1},
        "test": {"ContentType": "", "TrainingInputMode": "FastFile", "CompressionType": None},
    })  # fmt: skip
    write(paths.resource_config, {"current_host": "algo-2", "hosts": ["algo-1", "algo-2"],
                                  "network_interface_name": "ethwe", "topology": {}})  # fmt: skip
    write(paths.checkpoint_config, {"LocalPath": "/somewhere"})
    job = read_job(paths)
    assert job.channels["train"] == Channel(
        "train", paths.channel("train"), "Pipe", RECORDIO_PROTOBUF, "ShardedByS3Key", "RecordIO", "Gzip"
    )
    assert job.channels["test"] == Channel("test", paths.channel("test"), "FastFile")
    assert (job.current_host, job.hosts, job.network_interface) == ("algo-2", ("algo-1", "algo-2"), "ethwe")
    assert str(job.checkpoint_folder) == "/somewhere"


def test_checkpoints_have_a_default_folder(paths):
    write(paths.checkpoint_config, {})
    assert read_job(paths).checkpoint_folder == paths.root / "checkpoints"


def test_checkpoints_go_to_their_folder_if_it_is_there(paths):
    assert read_job(paths).checkpoint_folder is None
    (paths.root / "checkpoints").mkdir()
    assert read_job(paths).checkpoint_folder == paths.root / "checkpoints"


def test_the_model_channel_has_a_content_type_of_its_own(paths):
    write(paths.input_data_config, {"train": {}, "model": {}, "test": {}})
    assert read_job(paths).channels["model"].content_type == "application/x-sagemaker-model"
    for description, sentence in (
        ({"ContentType": RECORDIO_PROTOBUF}, "expected application/x-sagemaker-model, or none"),
        ({"TrainingInputMode": "Pipe"}, "channel model: TrainingInputMode is Pipe, expected File or FastFile"),
    ):
        write(paths.input_data_config, {"train": {}, "model": description})
        with pytest.raises(ConfigError, match=sentence):
            read_job(paths)


@pytest.mark.parametrize("resources", [{}, {"current_host": "sagemaker-local"}, {"hosts": ["x"]}])
def test_a_part_of_the_hosts_suffices(paths, resources):
    write(paths.resource_config, resources)
    job = read_job(paths)
    assert job.hosts == (job.current_host,)
    assert job.current_host == resources.get("current_host", resources.get("hosts", ["algo-1"])[0])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"train": {"TrainingInputMode": "Tape"}}, "channel train: TrainingInputMode is 'Tape', expected File or"),
        ({"train": {"S3DistributionType": 3}}, "channel train: S3DistributionType is a JSON number, expected text"),
        ({"train": {"RecordWrapperType": "recordio"}}, "RecordWrapperType is 'recordio', expected None or"),
        ({"train": {"CompressionType": "Zip"}}, "channel train: CompressionType is 'Zip', expected None or Gzip"),
        ({"train": {"ContentType": "text/tsv"}}, "ContentType is 'text/tsv', expected " + RECORDIO_PROTOBUF),
        ({"train": {"ContentType": "text/csv;label_size=0"}}, "'text/csv;label_size=0', expected label_size=1 or none"),
        ({"train": {"ContentType": "text/csv;csv_weights=2"}}, "'text/csv;csv_weights=2', expected csv_weights=1 or"),
        ({"train": {"ContentType": "text/libsvm;csv_weights=1"}}, "of text/csv alone: libsvm has label:weight"),
        ({"train": {"ContentType": "text/csv", "RecordWrapperType": "RecordIO"}}, "expected None for text/csv"),
        ({"train": {"ContentType": PARQUET, "TrainingInputMode": "Pipe"}}, "Parquet cannot be read as a stream"),
        ({"train": {"ContentType": "x" * 3000}}, "channel train: ContentType is 'xxx"),
        ({"train": []}, "channel train is a JSON array, expected a JSON object"),
        ({"..": {}}, "has a channel named '..', expected 1 to 64 letters"),
        ({"a/b": {}}, "has a channel named 'a/b', expected 1 to 64 letters"),
        ({"test": {}}, "has only test, expected a channel named train"),
        ({}, "has no channel at all, expected a channel named train"),
        ([], "it is not a JSON object, expected a JSON object with every key once"),
        ("{", "it is not JSON"),
        ('{"train": {}, "train": {"ContentType": "text/csv"}}', "it has the key 'train' twice in one object"),
        ('{"train": {"ContentType": "text/csv", "ContentType": "text/libsvm"}}', "the key 'ContentType' twice"),
        ("[" * 100_000, "it is nested too deep"),
    ],
)  # fmt: skip
def test_a_bad_channel_is_refused_by_file_and_key(paths, content, said):
    write(paths.input_data_config, content)
    with pytest.raises(ConfigError, match=re.escape(said)) as refusal:
        read_job(paths)
    assert str(paths.input_data_config) in str(refusal.value)
    assert len(str(refusal.value)) < 800


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"hosts": "algo-1"}, "hosts is 'algo-1', expected a list of one or more host names"),
        ({"hosts": []}, "hosts is [], expected a list"),
        ({"hosts": [1]}, "hosts is [1], expected a list"),
        ({"hosts": ["../x"]}, "hosts has '../x', expected a host name"),
        ({"current_host": "../x"}, "hosts has '../x', expected a host name"),
        ({"current_host": 1}, "current_host is a JSON number, expected text"),
        ({"current_host": "a", "hosts": ["b", "c"]}, "current_host is 'a', expected one of hosts: b, c"),
    ],
)
def test_bad_hosts_are_refused_by_file_and_key(paths, content, said):
    write(paths.resource_config, content)
    with pytest.raises(ConfigError, match=re.escape(said)) as refusal:
        read_job(paths)
    assert str(paths.resource_config) in str(refusal.value)


def test_a_file_that_is_missing_or_unreadable_is_named(paths):
    with pytest.raises(ConfigError, match=r"hyperparameters\.json does not exist"):
        read_object(paths.hyperparameters)
    paths.hyperparameters.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(ConfigError, match=r"hyperparameters\.json: it is not UTF-8 text"):
        read_object(paths.hyperparameters)
    paths.hyperparameters.unlink()
    paths.hyperparameters.mkdir()
    with pytest.raises(ConfigError, match=r"hyperparameters\.json cannot be read"):
        read_object(paths.hyperparameters)


@pytest.mark.parametrize("text", ['{"k": "1", "k": "2"}', '{"k": "1", "\\u006b": "1"}', '{"a": [{"k": 1, "k": 1}]}'])
def test_a_key_twice_is_refused_not_overwritten(paths, text):
    paths.hyperparameters.write_text(text)
    with pytest.raises(ConfigError, match=r"hyperparameters\.json: it has the key 'k' twice in one object, expected"):
        read_object(paths.hyperparameters)


def test_a_byte_order_mark_is_no_harm(paths):
    paths.hyperparameters.write_bytes(b'\xef\xbb\xbf{"a": "1"}')
    assert read_object(paths.hyperparameters) == {"a": "1"}
