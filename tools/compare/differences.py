"""The intended differences, each with its reason, and how two results are compared."""

import dataclasses
import difflib
import fnmatch
import re
from collections.abc import Mapping

from tools.compare.sides import entries_of

__all__ = ["MEANT", "Meant", "difference"]


@dataclasses.dataclass(frozen=True)
class Meant:
    """A difference that is meant.

    Attributes
    ----------
    case : str
        Cases by name, with ``*``.
    part : str
        Parts of what a case leaves, with ``*``: ``stdout``, ``status``, ``model/model_algo-1``.
    lines : str
        A regular expression: lines that match it, on either side, are not compared. ``.*``: the whole part.
    reason : str
    """

    case: str
    part: str
    lines: str
    reason: str


MEANT = [
    Meant(
        "request: *",
        "headers",
        "^Content-Type: (text/plain; charset=utf-8|application/json)$",
        "refusals are JSON by RFC 9457, with the same sentence",
    ),
    Meant("request: *", "headers", "^(Allow|Content-Type: text/html).*", "405 has Allow; /ping's empty body no type"),
    Meant("request: *: no such address", "refusal", ".*", "404 says what there is, in the project's own words"),
    Meant("request: *: wrong method", "refusal", ".*", "405 says what there is, in the project's own words"),
    Meant("request: models: invocations", "refusal", ".*", "404 says what there is, in the project's own words"),
    Meant(
        "request: *: stdout", "stdout", '"status":[45]', "the log has the sentences of refusals, compared by themselves"
    ),
    Meant("job: *", "stdout", r"factorization-machines \d+\.\d+\.\d+ \(revision", "the log begins with the version"),
    Meant("checkpoint: *", "stdout", r"factorization-machines \d+\.\d+\.\d+ \(revision", "so does this one"),
    Meant("request: *: std*", "std*", r"factorization-machines \d+\.\d+\.\d+ \(revision", "so does that of serve"),
    Meant("job: *", "stdout", r"ClientError: \S*config/\w+\.json.* JSON", "a key that stands twice is refused too"),
    Meant("job: *", "output/failure", r"^ClientError: \S*config/\w+\.json.* JSON", "the same sentence"),
    Meant("request: models: load no JSON", "refusal", ".*", "the sentence says where the JSON goes wrong"),
    Meant("job: *", "stdout", r"(roc|pr)_auc", "areas under curves are metrics too"),
    Meant("checkpoint: *", "stdout", r"(roc|pr)_auc", "areas under curves are metrics too"),
    Meant(
        "job: a report", "output/data/metrics.json", r'"(roc|pr)_auc"|"binary_f_1', "areas under curves, and a comma"
    ),
    Meant("job: *", "model/baseline.json", ".*", "what the endpoint compares scores with is kept"),
    Meant("checkpoint: *", "model/baseline.json", ".*", "the same"),
    Meant("job: *", "stdout", r"Wrote baseline\.json$", "and its writing is told"),
    Meant(
        "fm: inspect: JSON",
        "stdout",
        r'^  \],?$|"(learned|score_range)": null',
        "what solver bayes learned has a place",
    ),
    Meant("job: bad lines, skipped", "*", ".*", "rows of one feature, which this data has, move no factors any more"),
    Meant("fm: convert: *", "stdout", "^  +[^ ]", "what was understood of each column is said"),
    Meant("fm: convert: help", "stdout", ".*", "more options"),
    Meant("job: quoted hyperparameters*", "stdout", "Channel extra is not used", "there is a channel more: items"),
    Meant(
        "job: a report",
        "output/data/metrics.json",
        r'"findings"|"made_by"|^ +"[A-Z]|^ \],?$',
        "the report's sentences are there too",
    ),
    Meant("job: a report", "output/data/report.html", ".*", "drawn anew: more charts, for phones and print"),
    Meant("job: a schema beside the data", "stdout", "schema.json", "said in plainer words"),
    Meant("job: fails: test channel", "stdout", ".*", "a test channel's first record is looked at before training"),
    Meant(
        "job: a report",
        "output/data/metrics.json",
        "best_epoch",
        "the report knows the epoch of the model that is kept",
    ),
    Meant("request: *: refused: no type", "refusal", ".*", "media types are listed in the order of the registry"),
    Meant("request: *: refused: a type", "refusal", ".*", "media types are listed in the order of the registry"),
    Meant(
        "request: *: refused: csv *", "refusal", ".*", "requests read CSV by the channels' parser, and name its lines"
    ),
    Meant("request: *: refused: libsvm *", "refusal", ".*", "requests read libsvm by the channels' parser, the same"),
    Meant("request: columns: refused: number", "*", ".*", "a number is its text in a column of texts, as in a table"),
    Meant("request: columns: stdout", "stdout", '"bytes_in":105,', "the same request's line"),
    Meant("fm: help", "stdout", ".*", "more commands, and --version"),
    Meant(
        "fm: convert: *",
        "schema.json",
        r'"(example|separator|first_feature|remarks)|cells are empty|^\s*\],?$',
        "a column's example is kept",
    ),
    Meant(
        "estimator: *", "stdout", r"^(FM(Classifier|Regressor)\(|\s+[a-z_]+=)", "the mini-batches are asked for by name"
    ),
    Meant("estimator: regressor, no such parameter", "stderr", ".*", "the error names the estimator"),
    Meant("checkpoint: *", "stdout", "(Going on|Resuming) from checkpoint", "plain English"),
    Meant("fm: convert: no *", "stderr", ".*", "plain English, and how the format is named"),
    Meant("request: *: refused: columns", "refusal", "(beside|next to) it, or send feature ids$", "plain English"),
    Meant("request: *: refused: 7 MB", "refusal", "^the body has 7000000 bytes, more than", "plain English"),
    Meant("request: models: load nothing", "refusal", "(leads to nothing|does not exist), expected", "plain English"),
    Meant("request: models: load outside", "refusal", "(leads out of|points outside) .*, expected", "plain English"),
    Meant("fm: predict: too wide", "stderr", "expected (the model's )?[0-9]+( as the model)?", "plain English"),
]


def difference(name: str, base: Mapping[str, bytes], tree: Mapping[str, bytes]) -> tuple[str | None, list[Meant]]:
    """Compare what the two sides left.

    Parameters
    ----------
    name : str
        Of the case.
    base, tree : mapping of str to bytes
        Everything each left, by the name of the part.

    Returns
    -------
    first : str or None
        The first difference that is not meant.
    met : list of Meant
        Those that are.
    """
    first, met = None, []
    for part in dict.fromkeys([*base, *tree]):
        one, other = base.get(part), tree.get(part)
        if one != other and one is not None and other is not None:
            one, other = entries_of(one), entries_of(other)
        if one == other:
            continue
        rules = [rule for rule in MEANT if fnmatch.fnmatch(name, rule.case) and fnmatch.fnmatch(part, rule.part)]
        used = [rule for rule in rules if _without(one, [rule]) != one or _without(other, [rule]) != other]
        met += used
        if _without(one, used) != _without(other, used) and first is None:
            first = f"{part}: {_first(one, other, used)}"
    return first, met


def _without(data: bytes | None, rules: list[Meant]) -> bytes | None:
    """The lines that none of the rules is about; a part that is left out whole is as one that is not there."""
    if any(rule.lines == ".*" for rule in rules):
        return None
    if data is None or not rules:
        return data
    patterns = [re.compile(rule.lines.encode()) for rule in rules]
    return b"\n".join(line for line in data.split(b"\n") if not any(p.search(line) for p in patterns))


def _first(one: bytes | None, other: bytes | None, rules: list[Meant]) -> str:
    one, other = _without(one, rules), _without(other, rules)
    if one is None or other is None:
        return "only the base has it" if other is None else "only the tree has it"
    try:
        texts = one.decode().splitlines(), other.decode().splitlines()
    except UnicodeDecodeError:
        at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
        return f"{len(one)} and {len(other)} bytes, from byte {at} on {one[at : at + 16].hex()} and " + (
            other[at : at + 16].hex() or "nothing"
        )
    changed = [line for line in difflib.unified_diff(*texts, n=0, lineterm="") if line[:3] not in ("---", "+++")]
    return "\n    " + "\n    ".join(line[:400] for line in changed[1:7]) if changed else "the ends of lines"
