"""What can be wrong with a record or its frame: a number and a sentence for each fault.

The plain reader (`records`, `recordio`) and the compiled one (`_decode`) report the same
`Fault` with the same numbers, so each sentence is written once, here. The compiled reader
repeats the numbers of `Fault` as a C enum; a test compares the two.
"""

import enum

from fm_core.errors import DataError

__all__ = ["BadRecord", "Fault", "describe", "located"]


class Fault(enum.IntEnum):
    """A way to be wrong; the comment names the numbers `a`, `b` and `x` of its sentence."""

    # The frame is broken: what follows cannot be found any more.
    MAGIC = 1  # a: the four bytes found
    PART_WITHOUT_FIRST = 2  # a: continuation flag
    PART_MISSING = 3  # a: continuation flag
    CUT = 4  # a: bytes of the frame that are there, b: bytes it has
    RECORD_LONG = 5  # a: bytes, b: most bytes allowed
    # The frame is intact, its payload is not protobuf; a: the place in the payload.
    VARINT_LONG = 6
    VARINT_CUT = 7
    LENGTH = 8  # b: bytes declared
    WIRE_TYPE = 9  # b: wire type
    FIELD_ZERO = 10
    RAGGED = 11  # b: bytes
    # It is protobuf, but not a row of this data set.
    NOT_A_TENSOR = 12
    KEYS = 13  # a: keys, b: values
    NOT_DENSE = 14  # a: keys
    NOT_SPARSE = 15  # a: values
    SHAPE = 16  # a: width by its shape, b: feature_dim
    WIDTH = 17  # a: values, b: feature_dim
    KEY = 18  # a: key, b: feature_dim
    VALUE = 19  # a: key, x: value
    LABEL_MISSING = 20
    LABEL_MANY = 21  # a: numbers
    LABEL_VALUE = 22  # x: label
    LABEL_BINARY = 23  # x: label
    WEIGHT_MANY = 24  # a: numbers
    WEIGHT_VALUE = 25  # x: weight


SENTENCES = {
    Fault.MAGIC: "found {a:#010x} where a record begins, expected the RecordIO magic 0xced7230a",
    Fault.PART_WITHOUT_FIRST: "found continuation flag {a} outside a split record, expected 0 (whole) or 1 (first)",
    Fault.PART_MISSING: "found continuation flag {a} inside a split record, expected 2 (middle) or 3 (last)",
    Fault.CUT: "the data ends inside this record, after {a} of the {b} bytes of its frame",
    Fault.RECORD_LONG: "the parts of this record have {a} bytes together, expected at most {b}",
    Fault.VARINT_LONG: "the varint at byte {a} of the payload is longer than its type allows",
    Fault.VARINT_CUT: "the varint at byte {a} of the payload runs past the end of its message",
    Fault.LENGTH: "the field at byte {a} of the payload declares {b} bytes, more than its message has left",
    Fault.WIRE_TYPE: "the field at byte {a} of the payload has wire type {b}, expected 0, 1, 2 or 5",
    Fault.FIELD_ZERO: "the field at byte {a} of the payload has number 0, expected 1 or more",
    Fault.RAGGED: "the packed values at byte {a} of the payload take {b} bytes, which is not a whole number of values",
    Fault.NOT_A_TENSOR: "feature 'values' holds bytes, expected a float32, float64 or int32 tensor",
    Fault.KEYS: "found {a} keys for {b} values, expected one each",
    Fault.NOT_DENSE: "the record is sparse ({a} keys), expected a dense one like the records before it",
    Fault.NOT_SPARSE: "the record is dense ({a} values without keys), expected a sparse one like the records before it",
    Fault.SHAPE: "the shape of the record is {a}, expected feature_dim={b}",
    Fault.WIDTH: "the record has {a} values without keys, expected feature_dim={b}",
    Fault.KEY: "key {a} is not below feature_dim={b}",
    Fault.VALUE: "the value of key {a} is {x:.9g}, expected a number that is finite as float32",
    Fault.LABEL_MISSING: "the record has no number under label 'values', expected one",
    Fault.LABEL_MANY: "the record has {a} numbers under label 'values', expected one",
    Fault.LABEL_VALUE: "the label is {x:.9g}, expected a number that is finite as float32",
    Fault.LABEL_BINARY: "the label is {x:.9g}, expected 0 or 1 for a binary classifier",
    Fault.WEIGHT_MANY: "the record has {a} numbers under label 'weights', expected one or none",
    Fault.WEIGHT_VALUE: "the weight is {x:.9g}, expected a number of at least 0 that is finite as float32",
}


class BadRecord(DataError):
    """A record or frame that is refused, as the plain reader raises it.

    Parameters
    ----------
    fault : Fault
    a, b : int
    x : float
        The numbers of its sentence.
    """

    def __init__(self, fault: Fault, a: int = 0, b: int = 0, x: float = 0.0) -> None:
        super().__init__(describe(fault, a, b, x))
        self.fault = fault
        self.a = a
        self.b = b
        self.x = x


def describe(fault: int, a: int, b: int, x: float) -> str:
    """Make the sentence of a fault.

    Parameters
    ----------
    fault : int
        A `Fault`.
    a, b : int
    x : float
        What the fault's sentence in `SENTENCES` takes: numbers found and expected.

    Returns
    -------
    sentence : str
    """
    return SENTENCES[Fault(fault)].format(a=a, b=b, x=x)


def located(name: str, record: int, offset: int, what: str) -> str:
    """Put the place in front of a sentence.

    Parameters
    ----------
    name : str
        Of the source; empty: it has none.
    record, offset : int
        The record, counted from 0, and the byte that it begins at.
    what : str
        The sentence.

    Returns
    -------
    sentence : str

    Examples
    --------
    >>> located("part-1", 2, 80, "the label is missing")
    'part-1: record 2 (byte 80): the label is missing'
    """
    place = f"record {record} (byte {offset}): {what}"
    return f"{name}: {place}" if name else place
