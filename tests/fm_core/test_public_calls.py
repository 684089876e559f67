"""Every public function with each of its arguments too short, too long, of a wrong kind and not finite.

Each is refused in one sentence, or it is right all the same: nothing is read beyond an array, nothing wrong is given
back without a word, and no error of an inner function comes out. `make test-asan` runs this too.
"""

import dataclasses
import inspect
import io
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

import fm_core
import fm_core.formats
from fm_core import (
    Batch,
    Catalogue,
    FMClassifier,
    FMRegressor,
    Hyperparameters,
    Model,
    Recommender,
    RecordSerializer,
    TableSchema,
    evaluate,
    explain,
    fit,
    load_model,
    rank,
    read_meta,
    read_records,
    save_model,
    write_records,
)
from fm_core.analysis.fold_in import Population, fold_in
from fm_core.analysis.ranking import contexts_of
from fm_core.errors import FMError
from fm_core.formats import decode_rows, decompressed, encode_predictions, open_chunks, read_batches, unwrap
from fm_core.formats.streams import Source
from fm_core.formats.tables.encoder import Encoder
from fm_core.formats.tables.frames import encode_table, frame_table
from fm_core.formats.tables.schema import Column
from fm_core.hyperparameter_text import to_texts
from fm_core.hyperparameters import parameters
from fm_core.score_range import ScoreRange
from tests.fm_core.spoilt import Kept, spoilt
from tests.fm_core.test_spread import make_spread

D = 7
X = sp.random(12, D, 0.5, "csr", random_state=0, dtype=np.float32)
NUMBERS = np.linspace(-1, 1, 12).astype(np.float32)
CLASSES = (NUMBERS > 0).astype(np.float32)
WEIGHTS = np.linspace(0.5, 2, 12).astype(np.float32)
SPARSE, DENSE = Batch.from_csr(X, NUMBERS), Batch.from_dense(X.toarray(), NUMBERS)
HP = Hyperparameters(feature_dim=D, num_factors=2, predictor_type="regressor")
MODEL = Model.initialise(HP)
REGRESSOR, CLASSIFIER = FMRegressor(num_factors=2, epochs=1), FMClassifier(num_factors=2, epochs=1)
SCHEMA = TableSchema(
    (Column("user", "categorical", ("u", "v")), Column("hour", "numeric"),
     Column("film", "categorical", ("f0", "f1", "f2", "f3"))), label="rating",
)  # fmt: skip
assert SCHEMA.feature_dim == D


def records(rows=X, labels=NUMBERS):
    file = io.BytesIO()
    write_records(file, rows, labels)
    return file.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("public")
    REGRESSOR.fit(X, NUMBERS).save(path / "model_algo-1")
    CLASSIFIER.fit(X, CLASSES).save(path / "classifier")
    SCHEMA.save(path / "schema.json")
    (path / "catalogue.csv").write_text("film,year\nf0,1990\nf1,1991\nf2,1992\nf3,\n")
    (path / "records").write_bytes(records())
    return path


FRAME = {"user": ["u", "v", "u"], "hour": [1, 2, 3], "film": ["f0", "f1", "f3"], "rating": [1, 2, 3]}
REQUEST = {"columns": {"user": "u", "hour": 3}, "top_k": 2, "exclude": ["f0"], "filter": {"year": {"min": 1991}}}
HISTORY = [{"film": "f0", "label": 1.0}, {"film": "f2", "label": 2}]


def catalogue():
    columns = Encoder(SCHEMA, labels="none")
    return Catalogue.read([frame_table({"film": ["f0", "f1", "f2", "f3"], "year": [1, 2, 3, None]})], columns, D)


def spread_model():
    model = Model.initialise(HP)
    model.spread = make_spread(feature_dim=D, features=[0, 1, 2, 4, 6])
    return model


def recommender():
    return Recommender(MODEL, catalogue(), Encoder(SCHEMA, labels="none"))


def calls(folder: Path):
    """Give each public function with good arguments by name; keyword arguments only, so that each has a name."""
    contexts = contexts_of(MODEL, SPARSE)
    population = Population.of(MODEL, range(2))
    return {
        "Batch": (
            lambda **given: Batch(**given),
            {"feature_dim": D, "values": SPARSE.values, "indptr": SPARSE.indptr, "indices": SPARSE.indices,
             "labels": SPARSE.labels, "weights": WEIGHTS},
        ),
        "Batch of dense rows": (lambda **given: Batch(**given), {"feature_dim": D, "values": DENSE.values}),
        "Batch.trusted": (
            lambda **given: MODEL.predict(Batch.trusted(**given)),  # its content is the caller's to check
            {"feature_dim": D, "values": SPARSE.values, "indptr": SPARSE.indptr, "indices": SPARSE.indices,
             "labels": SPARSE.labels, "weights": WEIGHTS},
        ),
        "Batch.from_csr": (Batch.from_csr, {"matrix": X, "labels": NUMBERS, "weights": WEIGHTS}),
        "Batch.from_dense": (Batch.from_dense, {"matrix": X.toarray(), "labels": NUMBERS, "weights": WEIGHTS}),
        "Batch.empty": (Batch.empty, {"feature_dim": D, "is_dense": False}),
        "Batch.with_weights": (SPARSE.with_weights, {"weights": WEIGHTS}),
        "Batch.concatenate": (Batch.concatenate, {"batches": [SPARSE, SPARSE]}),
        "Batch.slice": (SPARSE.slice, {"start": 1, "stop": 3}),
        "Batch.split": (lambda batch_size: list(SPARSE.split(batch_size)), {"batch_size": 5}),
        "Batch.take": (SPARSE.take, {"rows": np.array([3, 1])}),
        "Batch.with_labels": (SPARSE.with_labels, {"labels": NUMBERS}),
        "Model": (
            lambda **given: Model(**given).predict(SPARSE),
            {"predictor_type": "regressor", "w0": 0.5, "w": np.ones(D, np.float32), "V": np.ones((D, 2), np.float32),
             "score_range": ScoreRange(-1.0, 9.0)},
        ),
        "Model.of_params": (
            lambda **given: Model.of_params(**given).predict(SPARSE),
            {"predictor_type": "regressor", "w0": 0.5, "params": np.ones((D, 3), np.float32),
             "score_range": ScoreRange(-1.0, 9.0)},
        ),
        "Model.predict": (MODEL.predict, {"batch": SPARSE, "num_threads": 1}),
        "Model.predict of dense rows": (MODEL.predict, {"batch": DENSE, "num_threads": 1}),
        "Model.predict with std": (
            lambda **given: spread_model().predict(SPARSE, **given), {"num_threads": 1, "return_std": True}
        ),
        "Model.std": (spread_model().std, {"batch": SPARSE, "num_threads": 1}),
        "Model.initialise": (Model.initialise, {"hyperparameters": Kept(HP), "num_threads": 1}),
        "evaluate": (
            evaluate, {"model": MODEL, "batches": [SPARSE], "num_threads": 1, "hyperparameters": Kept(HP)}
        ),
        "Explanation.as_document": (
            explain(MODEL, SPARSE, [0])[0].as_document, {"top": 2, "name": lambda feature: "x"}
        ),
        "explain": (explain, {"model": MODEL, "batch": SPARSE, "rows": [0, 2]}),
        "explain dense rows": (explain, {"model": MODEL, "batch": DENSE, "rows": [0, 2]}),
        "rank": (rank, {"model": MODEL, "context": SPARSE.slice(0, 1), "candidates": SPARSE, "top_k": 3}),
        "fold_in": (
            fold_in,
            {"population": Kept(population), "contexts": Kept(contexts), "labels": np.linspace(0, 1, 12),
             "is_classifier": False},
        ),
        "fit": (
            fit,
            {"batches": lambda epoch: [SPARSE], "hyperparameters": Kept(HP), "num_threads": 1, "model": MODEL,
             "validation": lambda epoch: [SPARSE]},
        ),
        "save_model": (
            save_model,
            {"path": folder / "saved", "model": MODEL, "hyperparameter_strings": to_texts(HP)},
        ),
        "load_model": (load_model, {"path": folder / "model_algo-1"}),
        "read_meta": (read_meta, {"path": folder / "model_algo-1"}),
        "FMRegressor.load": (FMRegressor.load, {"path": folder / "model_algo-1"}),
        "FMRegressor.save": (REGRESSOR.save, {"path": folder / "saved"}),
        "FMRegressor.fit": (
            FMRegressor(num_factors=2, epochs=1).fit,
            {"X": X, "y": NUMBERS, "validation": (X, NUMBERS), "sample_weight": WEIGHTS},
        ),
        "FMRegressor.fit of dense rows": (
            FMRegressor(num_factors=2, epochs=1).fit, {"X": X.toarray(), "y": NUMBERS}
        ),
        "FMClassifier.fit": (
            FMClassifier(num_factors=2, epochs=1).fit,
            {"X": X, "y": CLASSES, "validation": (X, CLASSES), "sample_weight": WEIGHTS},
        ),
        "FMRegressor.partial_fit": (
            lambda **given: FMRegressor(num_factors=2, epochs=1).fit(X, NUMBERS).partial_fit(**given),
            {"X": X, "y": NUMBERS, "sample_weight": WEIGHTS},
        ),
        "FMClassifier.partial_fit": (
            lambda **given: FMClassifier(num_factors=2, epochs=1).fit(X, CLASSES).partial_fit(**given),
            {"X": X, "y": CLASSES, "classes": [0, 1], "sample_weight": WEIGHTS},
        ),
        "FMRegressor.recommend": (
            REGRESSOR.recommend,
            {"requests": [{"context": {"keys": [0], "values": [1]}, "top_k": 2}], "items": {"features": ["3", "4"]},
             "top_k": Kept(None)},
        ),
        "FMRegressor.rank": (REGRESSOR.rank, {"X": X[:2], "candidates": X, "top_k": 3}),
        "FMRegressor.explain": (REGRESSOR.explain, {"X": X[:2], "top": 3}),
        "FMRegressor.get_feature_importance": (REGRESSOR.get_feature_importance, {"X": X}),
        "FMRegressor.score": (REGRESSOR.score, {"X": X, "y": NUMBERS, "sample_weight": WEIGHTS}),
        "FMClassifier.load": (
            lambda **given: FMClassifier.load(**given), {"path": folder / "classifier", "classes": [0, 1]}
        ),
        "FMRegressor.recommender": (REGRESSOR.recommender, {"items": {"features": ["3", "4:0.5"], "name": ["x", "y"]}}),
        "FMRegressor.predict": (REGRESSOR.predict, {"X": X}),
        "FMClassifier.predict": (CLASSIFIER.predict, {"X": X}),
        "FMClassifier.predict_proba": (CLASSIFIER.predict_proba, {"X": X.toarray()}),
        "FMClassifier.decision_function": (CLASSIFIER.decision_function, {"X": X}),
        "FMClassifier.score": (CLASSIFIER.score, {"X": X, "y": CLASSES, "sample_weight": WEIGHTS}),
        "write_records": (
            write_records, {"file": Kept(io.BytesIO()), "rows": X, "labels": NUMBERS, "weights": WEIGHTS}
        ),
        "write_records of dense rows": (
            write_records, {"file": Kept(io.BytesIO()), "rows": X.toarray(), "labels": NUMBERS}
        ),
        "RecordSerializer.serialize": (RecordSerializer().serialize, {"data": X}),
        "RecordSerializer.serialize of dense rows": (RecordSerializer().serialize, {"data": X.toarray()}),
        "read_records": (read_records, {"file": records()}),
        "read_records of a file": (read_records, {"file": folder / "records"}),
        "decode_rows": (decode_rows, {"data": records(), "feature_dim": D}),
        "read_batches": (
            lambda data, **given: list(read_batches([Source("a", [data])], **given)),
            {"data": records(), "feature_dim": D, "batch_size": 5, "labels": "real", "is_dense": False,
             "max_bad_records": 1},
        ),
        "encode_predictions": (
            encode_predictions,
            {"scores": NUMBERS, "predicted_labels": CLASSES, "uids": ["a"] * 12, "metadatas": [None] * 12},
        ),
        "decompressed": (lambda **given: list(decompressed(**given)), {"chunks": [records()], "name": Kept("x")}),
        "open_chunks": (lambda **given: list(open_chunks(**given)), {"path": folder / "records", "chunk_size": 99}),
        "unwrap": (lambda **given: list(unwrap(**given)), {"chunks": [records()]}),
        "TableSchema.feature_name": (SCHEMA.feature_name, {"feature": 3}),
        "TableSchema.features_of": (SCHEMA.features_of, {"names": ["film"], "what": Kept("x")}),
        "TableSchema.from_json": (TableSchema.from_json, {"text": SCHEMA.to_json(), "source": Kept("schema.json")}),
        "TableSchema.load": (TableSchema.load, {"path": folder / "schema.json", "feature_dim": D}),
        "TableSchema.save": (SCHEMA.save, {"path": folder / "saved.json"}),
        "frame_table": (frame_table, {"frame": FRAME, "source": Kept("the table")}),
        "encode_table": (encode_table, {"frame": FRAME, "schema": Kept(SCHEMA), "unseen": "error", "labels": "real"}),
        "Catalogue.load": (
            Catalogue.load,
            {"path": folder / "catalogue.csv", "encoder": Kept(Encoder(SCHEMA, labels="none")), "feature_dim": D},
        ),
        "Catalogue.document": (catalogue().document, {"item": 1}),
        "Catalogue.has": (catalogue().has, {"features": np.array([3, 4], np.int32)}),
        "Catalogue.positions": (catalogue().positions, {"ids": ["f0", "f3"]}),
        "Catalogue.allowed": (catalogue().allowed, {"wanted": {"film": ["f0"], "year": {"min": 1}}}),
        "Catalogue.save": (catalogue().save, {"path": folder / "catalogue-again.csv"}),
        "Recommender": (
            Recommender, {"model": MODEL, "catalogue": Kept(catalogue()), "encoder": Kept(None), "num_threads": 1}
        ),
        "Recommender.beside": (Recommender.beside, {"model": MODEL, "folder": folder, "unseen": "error"}),
        "Recommender.recommend": (recommender().recommend, {"requests": [REQUEST], "num_threads": 1}),
        **{
            f"a request's {name}": (
                lambda _all=REQUEST | more, **given: recommender().recommend([_all | given]),
                {name: (REQUEST | more)[name]},
            )
            for name, more in {
                "columns": {}, "top_k": {}, "exclude": {}, "filter": {},
                "history": {"columns": {"hour": 3}, "history": HISTORY},
            }.items()
        },
        "Hyperparameters": (
            lambda **given: Hyperparameters(**given),
            {"feature_dim": D, "num_factors": 2, "predictor_type": "regressor", "epochs": 2, "mini_batch_size": 10,
             "factors_lr": 0.1, "use_bias": True, "clip_gradient": 1.0, "seed": 3, "shuffle": False},
        ),
        "Hyperparameters of all defaults": (
            lambda **given: dataclasses.replace(HP, **given),
            {name: getattr(HP, name) for name in parameters() if getattr(HP, name) is not None},
        ),
    }  # fmt: skip


NAMES = sorted(calls(Path("/")))


@pytest.mark.parametrize("name", NAMES)
def test_what_an_argument_must_not_be_is_refused(name, folder):
    function, good = calls(folder)[name]
    right = {argument: value.value if isinstance(value, Kept) else value for argument, value in good.items()}
    function(**right)
    wrong = []
    for argument, value in good.items():
        if isinstance(value, Kept):
            continue
        for how, bad in spoilt(value):
            where = f"{argument}: {how}"
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # those of NumPy's casts come before our refusal
                    function(**right | {argument: bad})
            except (FMError, ValueError, TypeError, FileNotFoundError) as error:
                text = str(error)
                of_scikit_learn = name.startswith("FM") and type(error) is ValueError
                if not text or ("\n" in text and not of_scikit_learn) or len(text) > 2000:
                    wrong.append(f"{where}: {type(error).__name__}: {text[:300]!r}")
            except Exception as error:
                wrong.append(f"{where}: raised {type(error).__name__}: {str(error)[:200]}")
            else:
                if not any(re.fullmatch(taken, f"{name}, {where}") for taken in TAKEN):
                    wrong.append(f"{where}: was taken")
    assert not wrong, f"{len(wrong)} of {name}:\n" + "\n".join(wrong)


#: Functions and arguments that need no call here, and why.
NOT_CALLED = {
    "scikit-learn looks at it": r"FM\w+\.((get|set)_params|get_metadata_routing|set_\w+_request)\(",
    "what is given is looked at by fit, as Hyperparameters": r"FM(Classifier|Regressor)\(",
    "of the estimators' own modules": (
        r"FM\w+\.(learn_once|read_model|score_rows|std_of_rows|note_importances|warn_of_leaks)\("
    ),
    "shared by both kinds, and called for one": (
        r"FMClassifier\.(explain|get_feature_importance|rank|recommend|recommender|save)\("
    ),
    "made by a function that is called": r"(Catalogue|Explanation|Source|TableSchema)\(",
    "of a tuple": r"Source\.(count|index)\(",
    "tables are called by encode_table, open files by load": r"(Catalogue|TableSchema)\.read\(|has_header_beside",
    "None is allowed: no number of none, and no text of none": r"Hyperparameters\(\w+\)",
    "what a call works with, and not what it works on": (
        r"\((watch|limits|callback|should_stop|resume|checkpointer|device|algorithm|evaluation|partition|sources|"
        r"on_bad_record|chunk_size|what|first|return_std|deep|weights|classes|values)\)"
    ),
}


def public_functions():
    """Give each function that is public by its name, and each that a public class has."""
    for module in (fm_core, fm_core.formats):
        for name in module.__all__:
            value = getattr(module, name)
            if not callable(value) or (inspect.isclass(value) and issubclass(value, Exception)):
                continue
            yield name, value
            for attribute in dir(value) if inspect.isclass(value) else ():
                if not attribute.startswith("_") and callable(method := getattr(value, attribute)):
                    yield f"{name}.{attribute}", method


def test_every_argument_of_every_public_function_is_tried(folder):
    """So that a new one is, or its name stands in a table with the reason."""
    tried = {}
    for name, (_, good) in calls(folder).items():
        tried.setdefault(re.sub(r" .*", "", name), set()).update(good)
    forgotten = []
    for name, function in public_functions():
        for argument in inspect.signature(function).parameters.values():
            call = f"{name}({argument.name})"
            is_open = argument.kind in (argument.VAR_KEYWORD, argument.VAR_POSITIONAL) or argument.name == "self"
            is_tried = is_open or argument.name in tried.get(name, ())
            if not is_tried and not any(re.search(exempt, call) for exempt in NOT_CALLED.values()):
                forgotten.append(call)
    assert not forgotten
    names = {name for name, _ in public_functions()}
    others = {"contexts_of", "fold_in", "encode_table", "frame_table", "a"}  # public by their modules
    assert tried.keys() <= names | others


#: What is right all the same.
TAKEN = [
    # so many rows, columns or requests are as good as others, where nothing else says how many there are
    r"(Batch of dense rows, values|Batch\.take, rows): (one less|none|one more)",
    r"(Batch\.concatenate|evaluate), batches: (one less|one more)",
    r"FMRegressor\.(rank|explain|get_feature_importance), (X|candidates): one row (less|more)",
    r"(decompressed|unwrap), chunks: (one less|one more)",
    r"(Catalogue\.has, features|TableSchema\.features_of, names): (one less|none|one more|far too large|negative)",
    r"FM\w+\.(fit|partial_fit), sample_weight: fewer dimensions",  # one number for all
    r"((Recommender|FMRegressor)\.recommend, requests|explain.*, rows|Catalogue\.positions, ids): (one less|one more)",
    r"a request's (exclude|history), .*: (one less|one more)",
    r"(FMRegressor|FMClassifier)\.(predict|predict_proba|decision_function), X: (one (row )?less|one (row )?more)",
    r"RecordSerializer.*, data: (one (row )?less|no rows|none|one (row )?more|narrower|wider|flat|fewer dimensions)",
    r"(Batch\.from_csr|Batch\.from_dense), matrix: (narrower|wider)",
    r"(write_records.*, rows|FM\w+\.fit.*, X|Model, V|Model\.of_params, params|save_model, model): (narrower|wider)",
    r"explain.*, rows: a set",  # of integers
    # what bounds from above, or counts
    r"Batch\.slice, (start: zero|stop: huge)",
    r"(Batch\.split, batch_size|(FMRegressor\.)?rank, top_k|a request's top_k, top_k|Hyperparameters, epochs): huge",
    r"Hyperparameters, seed: zero",
    # the caller has looked at the content, says the docstring; a training looks at labels, and scores are not finite
    r"Batch\.(trusted|with_labels|with_weights), (values|labels|weights): (NaN|infinite)",
    r"Model(\.of_params)?, (w0|w|V|params): (NaN|infinite)",
    r"encode_predictions, (scores|predicted_labels): (NaN|infinite|huge|objects)",
    r"encode_predictions, (uids|metadatas): of nothing",
    # what is true or false is so as Python takes it
    r"(Batch\.empty, is_dense|Model\.predict with std, return_std): .*",
    # scikit-learn looks at them
    r"FM\w+\.score, (y|sample_weight): (masked|moments|huge)",
    # what counts nothing, or is counted from there
    r"Batch\.empty, feature_dim: zero|(Catalogue\.document, item|TableSchema\.feature_name, feature): zero",
    r"(FMRegressor\.explain|Explanation\.as_document), top: (negative|zero|huge)",
    r"Hyperparameters of all defaults, (\w+_interval|shuffle_buffer_size|max_bad_records|checkpoint\w*): (huge|zero)",
    r"Hyperparameters of all defaults, seed: zero",
    # that has no effect, or that the built-in takes as it is
    r"Hyperparameters of all defaults, (_\w+|feature_groups|user_features|item_features): (empty|unknown|a number)",
    r"Hyperparameters of all defaults, num_threads: a number",
    # what comes out is the caller's, and what is broken comes out as it is
    r"Explanation\.as_document, name: one that gives .*|unwrap, chunks: of nothing",
    r"read_batches, max_bad_records: (huge|zero)",
    # nothing asked for is nothing left out
    r"(Catalogue\.allowed, wanted|a request's filter, filter): (nothing in it|nothing for each)",
    r"a request's columns, columns: nothing in it",
    r"frame_table, frame: nothing in it",
    r"save_model, hyperparameter_strings: nothing in it",
    r"fit, model: narrower",  # features may come
    # the last byte is the filling of the last record
    r"(decode_rows|read_batches|read_records), (data|file): shorter",
    # the same in another form
    r"FM\w+\.(fit|fit of dense rows|partial_fit|score), y: more dimensions",  # a column, of which scikit-learn warns
    r"TableSchema\.from_json, text: bytes",
    r"rank, context: rows that fall",  # of one row
]
