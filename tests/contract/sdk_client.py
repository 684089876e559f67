"""Runs in a Python that has the SageMaker SDK, version 2: asks a server with its (de)serializers.

`python sdk_client.py PORT FEATURE_DIM` sends three dense rows in every way and prints, as
one JSON object, the scores it read by each.
"""

import http.client
import io
import json
import sys

import numpy as np
from sagemaker.amazon.common import RecordDeserializer, RecordSerializer, write_numpy_to_dense_tensor
from sagemaker.deserializers import CSVDeserializer, JSONDeserializer, JSONLinesDeserializer
from sagemaker.serializers import CSVSerializer, JSONLinesSerializer, JSONSerializer


def main():
    """Ask in every way."""
    port, feature_dim = int(sys.argv[1]), int(sys.argv[2])
    rows = (np.arange(3 * feature_dim).reshape(3, feature_dim) % 5 / 4).astype(np.float32)
    instances = [{"features": row.tolist()} for row in rows]
    ways = {
        "record": (RecordSerializer(), rows, RecordDeserializer(), from_records),
        "json": (JSONSerializer(), {"instances": instances}, JSONDeserializer(), from_json),
        "jsonlines": (JSONLinesSerializer(), instances, JSONLinesDeserializer(), from_objects),
        "csv": (CSVSerializer(), rows, CSVDeserializer(), from_csv),
    }
    found = {"rows": rows.tolist()}
    for name, (serializer, data, deserializer, read) in ways.items():
        found[name] = read(ask(port, serializer.serialize(data), serializer.CONTENT_TYPE, deserializer))
    file = io.BytesIO()
    write_numpy_to_dense_tensor(file, rows, labels=np.zeros(3, np.float32))
    found["writer"] = from_json(ask(port, file.getvalue(), "application/x-recordio-protobuf", JSONDeserializer()))
    print(json.dumps(found))


def ask(port, body, content_type, deserializer):
    """Post a body, and give what the SDK makes of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/invocations", body, {"Content-Type": content_type, "Accept": deserializer.ACCEPT[0]})
    answer = connection.getresponse()
    if answer.status != 200:
        sys.exit(f"{content_type}: {answer.status} {answer.read()!r}")
    return deserializer.deserialize(answer, answer.headers["Content-Type"])


def from_records(records):
    """As the SDK's documentation reads them."""
    return [record.label["score"].float32_tensor.values[0] for record in records]


def from_json(document):
    """As Amazon's notebooks read it."""
    return from_objects(document["predictions"])


def from_objects(objects):
    """One object a row."""
    return [each["score"] for each in objects]


def from_csv(lines):
    """The first column."""
    return [float(line[0]) for line in lines]


if __name__ == "__main__":
    main()
