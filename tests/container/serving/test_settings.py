"""What the environment tells a server: defaults, every variable, every refusal."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from container.serving.settings import ServingSettings
from fm_core.errors import ConfigError
from fm_core.resources import usable_memory

MB = 2**20


def settings(cores=4, memory=16 * 2**30, **environ):
    return ServingSettings.from_environment(environ, cores=cores, memory=memory)


def test_defaults():
    found = settings()
    assert (found.port, found.metrics_port, found.workers, found.predict_threads) == (8080, None, 4, 1)
    assert (found.timeout, found.max_content_length, found.default_accept) == (60, 6 * MB, "application/json")
    assert (found.max_payload_mb, found.max_concurrent_transforms, found.batch_strategy) == (6, 4, "MULTI_RECORD")
    assert not found.multi_model


def test_an_empty_variable_is_as_good_as_none():
    names = [
        "SAGEMAKER_BIND_TO_PORT", "SAGEMAKER_MODEL_SERVER_WORKERS", "SAGEMAKER_BATCH", "SAGEMAKER_SAFE_PORT_RANGE",
        "FM_METRICS_PORT", "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "MAX_CONTENT_LENGTH", "SAGEMAKER_MULTI_MODEL",
    ]  # fmt: skip
    assert settings(**dict.fromkeys(names, "")) == settings()


def test_one_worker_predicts_with_every_core():
    assert settings(SAGEMAKER_MODEL_SERVER_WORKERS="1").predict_threads == 4
    assert settings(SAGEMAKER_MODEL_SERVER_WORKERS="2").predict_threads == 1
    assert settings(cores=1).predict_threads == 1


def test_workers_are_no_more_than_fit_in_the_memory_with_the_largest_requests():
    assert settings(cores=6, memory=1024 * MB).workers == 6
    assert settings(cores=96, memory=1024 * MB).workers == 6
    assert settings(cores=96, memory=8 * 1024 * MB, SAGEMAKER_BATCH="true").workers == 5
    assert settings(cores=4, memory=8 * 1024 * MB, MAX_CONTENT_LENGTH=str(2**30)).workers == 4
    assert settings(cores=4, memory=100 * MB).workers == 1
    assert settings(cores=4, memory=100 * MB, SAGEMAKER_MODEL_SERVER_WORKERS="3").workers == 3


@pytest.mark.parametrize("text", ["true", "True", "TRUE", "1"])
def test_batch_takes_more(text):
    assert settings(SAGEMAKER_BATCH=text).max_content_length == 100 * MB
    assert settings(SAGEMAKER_BATCH=text, SAGEMAKER_MAX_PAYLOAD_IN_MB="20").max_content_length == 20 * MB
    assert settings(SAGEMAKER_MAX_PAYLOAD_IN_MB="20").max_content_length == 6 * MB, "not a batch job"
    assert settings(SAGEMAKER_BATCH=text, MAX_CONTENT_LENGTH="7").max_content_length == 7


def test_the_spellings_of_the_api_are_taken():
    assert settings(SAGEMAKER_MAX_CONCURRENT_TRANSFORMS="0") == settings()
    for text in ("MultiRecord", "MULTI_RECORD", "multirecord"):
        assert settings(SAGEMAKER_BATCH_STRATEGY=text).batch_strategy == "MULTI_RECORD"
    for text in ("SingleRecord", "SINGLE_RECORD"):
        assert settings(SAGEMAKER_BATCH_STRATEGY=text).batch_strategy == "SINGLE_RECORD"


@given(cores=st.integers(1, 200), payload=st.integers(0, 100), memory=st.integers(2**28, 2**40))
def test_concurrent_transforms_times_payload_is_at_most_100(cores, payload, memory):
    found = settings(cores, memory, SAGEMAKER_BATCH="true", SAGEMAKER_MAX_PAYLOAD_IN_MB=str(payload))
    assert found.max_concurrent_transforms >= 1
    assert found.max_concurrent_transforms <= cores
    assert found.max_concurrent_transforms * found.max_payload_mb <= 100
    if found.max_concurrent_transforms > 1:
        assert found.max_concurrent_transforms * found.max_payload_mb * 15 * MB <= memory


def test_the_metrics_port():
    assert settings(FM_METRICS_PORT="9100").metrics_port == 9100
    safe = {"SAGEMAKER_SAFE_PORT_RANGE": "9000-9010"}
    assert settings(FM_METRICS_PORT="9010", **safe).metrics_port == 9010
    assert settings(FM_METRICS_PORT="auto", **safe).metrics_port == 9000
    assert settings(FM_METRICS_PORT="auto", SAGEMAKER_BIND_TO_PORT="9000", **safe).metrics_port == 9001
    assert settings(**safe).metrics_port is None


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("SAGEMAKER_BIND_TO_PORT", "0"),
        ("SAGEMAKER_BIND_TO_PORT", "65536"),
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "two"),
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "-1"),
        ("SAGEMAKER_MODEL_SERVER_TIMEOUT", "1.5"),
        ("SAGEMAKER_BATCH", "yes"),
        ("SAGEMAKER_BATCH_STRATEGY", "ALL"),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "101"),
        ("SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", "-1"),
        ("MAX_CONTENT_LENGTH", "6e6"),
        ("SAGEMAKER_CONTAINER_LOG_LEVEL", "info"),
        ("SAGEMAKER_MULTI_MODEL", "on"),
        ("FM_MODEL_MEMORY_MB", "9" * 30),
        ("FM_SERVER_QUEUE", "0"),
        ("FM_METRICS_PORT", "8080"),
        ("FM_METRICS_PORT", "auto"),
        ("FM_METRICS_PORT", "70000"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused_by_name(variable, text):
    with pytest.raises(ConfigError, match=f"environment variable {variable} is '{text}', expected"):
        settings(**{variable: text})


@pytest.mark.parametrize("safe", ["9000", "9010-9000", "0-10", "9000-99999", "a-b"])
def test_a_safe_port_range_that_cannot_be_read_is_refused(safe):
    with pytest.raises(ConfigError, match="SAGEMAKER_SAFE_PORT_RANGE"):
        settings(FM_METRICS_PORT="9000", SAGEMAKER_SAFE_PORT_RANGE=safe)


def test_a_metrics_port_outside_of_the_safe_range_is_refused():
    with pytest.raises(ConfigError, match="a port from 9000 to 9010"):
        settings(FM_METRICS_PORT="9011", SAGEMAKER_SAFE_PORT_RANGE="9000-9010")


# --- memory ----------------------------------------------------------------------------------


def cgroup(folder, membership, **limits):
    (folder / "membership").write_text(membership)
    for name, text in limits.items():
        file = folder / "groups" / name.replace("__", "/").replace("_max", ".max")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return {"cgroups": folder / "groups", "membership": folder / "membership"}


def test_memory_is_the_lowest_limit_of_the_group_and_those_above(tmp_path):
    machine = usable_memory(tmp_path / "none", tmp_path / "none")
    assert machine > 2**28
    places = cgroup(tmp_path, "0::/a/b\n", a__b__memory_max="max\n", a__memory_max=f"{64 * MB}\n")
    assert usable_memory(**places) == 64 * MB
    places = cgroup(tmp_path, "0::/elsewhere\n", memory_max=f"{32 * MB}\n")
    assert usable_memory(**places) == 32 * MB


def test_memory_of_the_older_control_groups(tmp_path):
    places = cgroup(tmp_path, "9:memory:/c\n8:cpu,cpuacct:/c\n", memory__c__memory_limit_in_bytes="x")
    (tmp_path / "groups/memory/c/memory.limit_in_bytes").write_text(f"{16 * MB}\n")
    assert usable_memory(**places) == 16 * MB
    (tmp_path / "groups/memory/c/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert usable_memory(**places) == usable_memory(tmp_path / "none", tmp_path / "none")
