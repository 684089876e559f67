"""Every documented shape of an answer."""

import numpy as np
import orjson

from container.serving.payloads import Predictions
from container.serving.responses import ENCODERS

JSON, LINES, RECORDIO = "application/json", "application/jsonlines", "application/x-recordio-protobuf"


def encode(media_type, scores, with_labels=False):
    encoder = ENCODERS[media_type]
    return b"".join(encoder.document([encoder.rows(Predictions(np.array(scores, np.float32), with_labels))]))


def test_json_prints_scores_shortly_and_labels_as_floats():
    assert encode(JSON, [0.1, 1, 1e-10]) == b'{"predictions":[{"score":0.1},{"score":1.0},{"score":1e-10}]}'
    assert encode(JSON, [0.25], True) == b'{"predictions":[{"score":0.25,"predicted_label":0.0}]}'
    assert encode(JSON, []) == b'{"predictions":[]}'
    assert encode(JSON, [], True) == b'{"predictions":[]}'


def test_jsonlines_and_csv_have_a_line_for_each_row_and_none_after_the_last():
    assert encode(LINES, [0.1, 2], True) == (
        b'{"score":0.1,"predicted_label":0.0}\n{"score":2.0,"predicted_label":1.0}'
    )
    assert encode("text/csv", [0.1, 2]) == b"0.1\n2.0"
    assert encode("text/csv", [0.1, 2], True) == b"0.1,0.0\n2.0,1.0"


def test_printed_scores_read_back_as_the_same_float32():
    bits = np.random.default_rng(1).integers(0, 2**32, 20_000, np.uint32).view(np.float32)
    scores = bits[np.isfinite(bits)]
    printed = [p["score"] for p in orjson.loads(encode(JSON, scores))["predictions"]]
    assert (np.array(printed, np.float32).view(np.uint32) == scores.view(np.uint32)).all()
