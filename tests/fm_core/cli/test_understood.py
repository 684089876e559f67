"""What `fm convert` says of columns, and what it asks before it guesses."""

import bz2
import lzma

import pytest

from fm_core import read_records
from fm_core.cli import main
from fm_core.formats.tables import TableSchema


def convert(tmp_path, data, *arguments, name="x.csv"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    (tmp_path / "schema.json").unlink(missing_ok=True)
    return main(["convert", str(path), str(tmp_path / "out.recordio"), *arguments])


def refused(tmp_path, capsys, *given, **how):
    assert convert(tmp_path, *given, **how) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    return said


def rows(n=30):
    yield "id,user,when,price,note,zip,same,leak,stars"
    for i in range(n):
        missing = "NA" if i % 10 == 3 else i / 4
        note = "x" if i == 5 else i % 3
        yield f"{i},{100000 + i * 7919},{20240101 + i % 28},{missing},{note},0{i % 7},1,{i % 2},{i % 2}"


def test_a_line_for_each_column_says_what_it_is_and_what_is_odd(tmp_path, capsys):
    arguments = ["--label", "stars", "--missing", "zero", "--ignore", "same"]
    assert convert(tmp_path, "\n".join(rows()) + "\n", *arguments) == 0
    said = capsys.readouterr().out
    for line in (
        "  id     numeric      1 feature   such as 0",
        "      counts the rows: an index? (--ignore)",
        "      whole numbers, nearly all different: ids? (--categorical or --hashed)",
        "      look like dates (year, month, day): as numbers they are far from 1",
        "      3 of 30 cells are missing, such as 'NA'",
        "      numbers but for some texts, such as 'x', so each number is a category",
        "      written with zeros in front: ids? (--categorical)",
        "      equals the label: leave it out? (--ignore)",
        "  stars  label",
        "  left out: same: as declared",
    ):
        assert line in said, line
    schema = TableSchema.load(tmp_path / "schema.json")
    by_name = {column.name: column for column in schema.columns}
    assert by_name["id"].example == "0"
    assert by_name["leak"].remarks == ("equals the label: leave it out? (--ignore)",)
    assert schema.left_out == ("same: as declared",)
    assert TableSchema.from_json(schema.to_json()) == schema


@pytest.mark.parametrize(
    "numbers",
    [
        ["1,234", "12,345.50", "999"], ["1,5", "2,25", "-3,0"], ["12%", "3.5 %"], ["$12.50", "€ 3", "12 EUR"],
        ["1'000", "22'000.5"], ["1 000", "1\u00a0000 000"], ["\u22121", "\u22122.5"], ["\uff11\uff12", "\u0663"],
        ["1e999", "2e999"],
    ],
    ids=lambda numbers: numbers[0],
)  # fmt: skip
@pytest.mark.parametrize("fit", [[], ["--fit"]], ids=["as it is", "fit"])
def test_numbers_that_are_written_in_another_way_are_said_to_be_categories(numbers, fit, tmp_path, capsys):
    cells = numbers * 3
    text = "".join(f'"{cell}",{i % 2}\n' for i, cell in enumerate(cells))
    assert convert(tmp_path, f"x,y\n{text}", "--label", "y", *fit) == 0
    assert f"numbers written in another way, such as {numbers[0]!r}, so each is a category" in capsys.readouterr().out


def test_times_of_which_some_have_a_zone_are_said_to_be_categories(tmp_path, capsys):
    cells = ["2024-01-01 10:00:00", "2024-01-01T10:00:00+02:00", "2024-02-01 11:00:00Z"] * 3
    text = "".join(f"{cell},{i % 2}\n" for i, cell in enumerate(cells))
    assert convert(tmp_path, f"x,y\n{text}", "--label", "y") == 0
    said = capsys.readouterr().out
    assert "times with a zone, brought to UTC, beside times without one: give all of them one" in said


@pytest.mark.parametrize("texts", [["u12", "f3"], ["1.2.3", "10.0.0.1"], ["a,b", "1,b"], ["12:30", "1/2"], ["", "x"]])
def test_ids_are_not_taken_for_numbers_that_are_written_in_another_way(texts, tmp_path, capsys):
    assert convert(tmp_path, "x,y\n" + "".join(f'"{text}",1\n' for text in texts), "--label", "y") == 0
    said = capsys.readouterr().out
    assert "written in another way" not in said
    assert "differ in nothing" not in said


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Oslo", "OSLO"), ("straße", "STRASSE"), ("Zo\u00e9", "Zoe\u0301"), ("ann", "\u00a0ann"), ("ann", "an\u200bn"),
        ("u1", "\ufeffu1"), ("New York", "New  York"), ("fi", "\ufb01"),
    ],
    ids=ascii,
)  # fmt: skip
@pytest.mark.parametrize("how", [[], ["--hashed", "x:9"], ["--fit"]], ids=" ".join)
def test_texts_that_seem_one_and_are_two_categories_are_said(first, second, how, tmp_path, capsys):
    text = "x,y\n" + f"{first},1\nother,0\n{second},1\n" * 3
    assert convert(tmp_path, text, "--label", "y", *how) == 0
    said = f"differ in nothing but case, blanks or form, such as {first!r} and {second!r}: two categories"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    "first", ["39, State-gov, 77516, <=50K", "0,1,2,3", "a,1,b,2"], ids=["numbers and texts", "counted", "mixed"]
)
def test_a_first_line_that_does_not_tell_whether_it_is_a_header_is_asked_about(first, tmp_path, capsys):
    text = f"{first}\n1,2,3,4\n"
    assert "give --header if it names" in refused(tmp_path, capsys, text, "--label=-1")
    assert convert(tmp_path, text, "--label=-1", "--header", "--quiet") == 0
    assert len(read_records(tmp_path / "out.recordio")[1]) == 1


def test_a_stray_quote_does_not_swallow_lines(tmp_path, capsys):
    text = 't\ty\n"Heroes\t0\nOther\t1\nEnd"\t1\nq\t0\n'
    said = refused(tmp_path, capsys, text, "--label", "y", name="x.tsv")
    assert "line 2: a quoted cell continues to line 4" in said
    assert convert(tmp_path, text, "--label", "y", "--no-quotes", "--quiet", name="x.tsv") == 0
    assert len(read_records(tmp_path / "out.recordio")[1]) == 4
    assert convert(tmp_path, text, "--label", "y", "--quotes", "--quiet", name="x.tsv") == 0
    assert len(read_records(tmp_path / "out.recordio")[1]) == 2
    assert convert(tmp_path, 't,y\n"two\nlines",1\nq,0\n', "--label", "y", "--quiet") == 0


@pytest.mark.parametrize(("encoding", "named"), [("latin-1", "latin-1"), ("utf-16", "utf-16"), ("cp1252", "cp1252")])
def test_text_in_another_encoding_is_read_if_that_is_named(encoding, named, tmp_path, capsys):
    text = "name,y\nzo\xe9,1\nbob,0\n" * 3000
    data = text.replace("name,y\n", "").encode(encoding) if encoding != "utf-16" else text.encode(encoding)
    if encoding == "utf-16":
        assert "--encoding utf-16" in refused(tmp_path, capsys, data, "--label", "y")
        data = ("name,y\n" + "zo\xe9,1\nbob,0\n" * 3000).encode(encoding)
    else:
        data = b"name,y\n" + data
        assert "--encoding latin-1" in refused(tmp_path, capsys, data, "--label", "y")
    assert convert(tmp_path, data, "--label", "y", "--encoding", named, "--quiet") == 0
    assert TableSchema.load(tmp_path / "schema.json").feature_names() == ["name=zo\xe9", "name=bob"]


def test_an_encoding_that_is_none_and_text_that_is_not_in_it_are_refused(tmp_path, capsys):
    assert "expected a name such as" in refused(tmp_path, capsys, "a,y\nx,1\n", "--label", "y", "--encoding", "martian")
    said = refused(tmp_path, capsys, b"a,y\n\xff,1\n", "--label", "y", "--encoding", "ascii")
    assert "the text is not ascii" in said
    assert "byte 4" in said


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a,y\r1,0\r2,1\r", "tr '\\r' '\\n'"),
        (bz2.compress(b"a,y\n1,0\n"), "compressed by bzip2, expected gzip or none: decompress it first (bzip2 -dc)"),
        (lzma.compress(b"a,y\n1,0\n"), "compressed by xz"),
        (b"\x28\xb5\x2f\xfd" + bytes(20), "compressed by zstd"),
    ],
)
def test_what_a_file_is_is_named_and_what_to_do(data, said, tmp_path, capsys):
    assert said in refused(tmp_path, capsys, data, "--label", "y")


def test_fields_of_libffm_are_named(tmp_path, capsys):
    assert "libFFM's" in refused(tmp_path, capsys, b"1 0:3:1 1:5:1\n", name="x.libsvm")
