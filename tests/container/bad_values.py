"""Text that is not admitted for a hyperparameter."""

from hypothesis import strategies as st

from fm_core.hyperparameters import parameters

FULLWIDTH_ONE = "\N{FULLWIDTH DIGIT ONE}"
JUNK = ["", " ", "x", "None", "null", "[]", "{}", "1 2", "0x10", "1,5", FULLWIDTH_ONE, "NaN", "\0", "x" * 3000]
NO_INTEGERS = ["10.0", "+5", " 5", "5 ", "5\n", "1e3", "1_000", "-1", "007", "00", "true", "1.", "9" * 3000]
NO_NUMBERS = ["nan", "inf", "-inf", "Infinity", "1e999", "1_000", " 5", "5 ", "5\n", "1e", ".", "true"]


def bad_texts(name):
    """Texts that are not admitted for this one."""
    p = parameters()[name]
    junk = st.sampled_from(JUNK)
    if p.kind == "integer":
        below = [str(int(p.minimum) - 1)]
        above = [str(int(p.maximum) + 1)] if p.maximum is not None else []
        no_integers = [text for text in NO_INTEGERS if p.maximum is not None or text[0] != "9"]
        return junk | st.sampled_from([*no_integers, *below, *above]) | st.floats().map(str)
    if p.kind == "number":
        below = st.nothing() if p.minimum is None else st.floats(max_value=-1e-300, allow_nan=False).map(str)
        return junk | st.sampled_from(NO_NUMBERS) | below
    if p.kind == "boolean":
        return junk | st.sampled_from(["yes", "0", "1", " true", "t"])
    return junk | st.sampled_from(["NORMAL", " normal", "Regressor", "adam "])
