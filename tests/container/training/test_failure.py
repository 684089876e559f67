import pytest

from container.training.failure import fail, write_failure
from fm_core import errors


@pytest.mark.parametrize(
    ("error", "begins"),
    [
        (errors.ConfigError("x"), "ClientError: x"),
        (errors.DataError("x"), "ClientError: x"),
        (errors.DivergenceError("x"), "ClientError: x"),
        (errors.ResourceError("x"), "ClientError: x"),
        (errors.ArtifactError("x"), "AlgorithmError: x"),
        (errors.CheckpointError("x"), "ClientError: x"),
        (MemoryError(), "ClientError: there is not enough memory"),
        (OSError(5, "Input/output error", "/x"), "AlgorithmError: [Errno 5] Input/output error: '/x'"),
        (KeyError("x"), "AlgorithmError: KeyError: 'x'; this is a bug"),
    ],
)
def test_every_class_of_error_has_its_blame(tmp_path, error, begins):
    fail(tmp_path / "output/failure", error)
    assert (tmp_path / "output/failure").read_text().startswith(begins)


def test_a_failure_is_one_line_of_at_most_1024_characters(tmp_path):
    path = tmp_path / "output/failure"
    write_failure(path, "ClientError: two\nlines")
    assert path.read_text() == "ClientError: two lines"
    write_failure(path, "ClientError: " + "é" * 5000)
    text = path.read_text()
    assert len(text) == 1024
    assert text.startswith("ClientError: éé")
    assert text.endswith("é…")
    write_failure(path, "x" * 1024)
    assert path.read_text() == "x" * 1024
    assert [file.name for file in path.parent.iterdir()] == ["failure"]
