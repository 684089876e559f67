"""Hypothesis strategies: rows, the records of them, and cuts into chunks."""

from hypothesis import strategies as st

from fm_core.formats.recordio.messages import Record

TENSORS = ("float32_tensor", "float64_tensor", "int32_tensor")
FEATURE_DIM = 300  # keys of one and of two bytes

LARGE = 2.0**100  # a hundred of them are still finite as float32


def numbers(kind):
    if kind == "int32_tensor":
        return st.integers(-(2**31), 2**31 - 1)
    return st.floats(-LARGE, LARGE, width=32 if kind == "float32_tensor" else 64)


@st.composite
def sparse_records(draw):
    """A Record of a sparse row: keys in any order, some repeated, shape or not."""
    record = Record()
    kind = draw(st.sampled_from(TENSORS))
    keys = draw(st.lists(st.integers(0, FEATURE_DIM - 1), max_size=60))
    if draw(st.booleans()):
        keys = sorted(set(keys))
    tensor = getattr(record.features["values"], kind)
    tensor.values.extend(draw(st.lists(numbers(kind), min_size=len(keys), max_size=len(keys))))
    tensor.keys.extend(keys)
    if draw(st.booleans()):
        tensor.shape.append(FEATURE_DIM)
    return _finished(draw, record)


@st.composite
def dense_records(draw, width=7):
    record = Record()
    kind = draw(st.sampled_from(TENSORS))
    getattr(record.features["values"], kind).values.extend(
        draw(st.lists(numbers(kind), min_size=width, max_size=width))
    )
    return _finished(draw, record)


def _finished(draw, record):
    kind = draw(st.sampled_from(TENSORS))
    getattr(record.label["values"], kind).values.append(draw(numbers(kind)))
    if draw(st.booleans()):
        record.uid = draw(st.text(max_size=5))
    if draw(st.booleans()):
        record.metadata = draw(st.text(max_size=200))
    return record


@st.composite
def chunkings(draw, data):
    """Cut `data` into chunks, some of them empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]
