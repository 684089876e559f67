"""How the types of a request and of its answer are chosen."""

import pytest

from container.serving.errors import NotAcceptableError, UnsupportedMediaTypeError
from container.serving.media_types import decoder_of, encoder_of
from container.serving.requests import DECODERS
from container.serving.responses import ENCODERS

JSON, LINES, RECORDIO = "application/json", "application/jsonlines", "application/x-recordio-protobuf"


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/JSON", " Application/Json ; charset=utf-8; verbose=true", "application/json;"],
)
def test_content_types_match_without_case_and_parameters(content_type):
    assert decoder_of(content_type) is DECODERS[JSON]


def test_the_documentation_spelling_of_recordio_is_understood():
    assert decoder_of("x-recordio-protobuf") is DECODERS[RECORDIO]
    assert encoder_of("x-recordio-protobuf", JSON) is ENCODERS[RECORDIO]


@pytest.mark.parametrize("content_type", ["application/octet-stream", "", "text/plain", "json", "a" * 5000])
def test_other_content_types_are_refused_with_what_to_set(content_type):
    with pytest.raises(UnsupportedMediaTypeError, match=r"set it to one of application/json, .*serializer"):
        decoder_of(content_type)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/*", "text/csv"),
        ("TEXT/CSV", "text/csv"),
        ("application/jsonlines; verbose=true", LINES),
        ("text/csv;q=0.5, application/x-recordio-protobuf;q=0.9", RECORDIO),
        ("text/html, text/csv;q=0.1", "text/csv"),
        ("application/json;q=0, */*", LINES),
        ("application/jsonlines, application/json", LINES),
        ("*/*;q=0.1, text/csv;q=0.2", "text/csv"),
        (" , application/json", JSON),
    ],
)
def test_accept_chooses_the_answer(accept, chosen):
    assert encoder_of(accept, JSON).media_type == chosen


def test_the_default_is_taken_where_the_client_leaves_the_choice():
    assert encoder_of("", LINES).media_type == LINES
    assert encoder_of("*/*", "text/CSV; header=absent").media_type == "text/csv"
    assert encoder_of("application/*", RECORDIO).media_type == RECORDIO


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "image/*", "text/csv;q=x", "text/csv;q=nan"])
def test_what_cannot_be_written_is_refused(accept):
    with pytest.raises(NotAcceptableError, match="accept one of application/json"):
        encoder_of(accept, JSON)


def test_a_default_that_cannot_be_written_is_refused():
    with pytest.raises(NotAcceptableError, match="text/html"):
        encoder_of("application/json", "text/html")
