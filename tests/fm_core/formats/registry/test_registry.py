"""The table of formats: its rows do not contradict each other, and the modules have what their rows say."""

import subprocess
import sys

import pytest

from fm_core.formats.registry import FORMATS, Role, format_of, formats_for, media_types_for
from tests.conftest import ROOT

FUNCTIONS = {
    Role.READ: "open_rows",
    Role.WRITE: "make_writer",
    Role.CHANNEL: "read_batches",
    Role.REQUEST: "decode_request",
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_has_the_functions_that_its_roles_ask_for_and_a_name_where_channels_and_requests_need_one(name):
    described = FORMATS[name]
    for role in described.roles:
        assert callable(getattr(described.functions, FUNCTIONS[role])), FUNCTIONS[role]
        assert FUNCTIONS[role] in described.functions.__all__
    if described.roles & (Role.CHANNEL | Role.REQUEST):
        assert described.media_type


def test_no_module_offers_what_no_row_asks_for():
    for module in {described.functions for described in FORMATS.values()}:
        roles = Role(0)
        for described in FORMATS.values():
            if described.functions is module:
                roles |= described.roles
        for role, function in FUNCTIONS.items():
            assert (function in module.__all__) == (role in roles), f"{module.__name__}.{function}"


def test_no_suffix_and_no_media_type_stands_for_two_formats():
    suffixes = [suffix for described in FORMATS.values() for suffix in described.suffixes]
    media_types = [name for described in FORMATS.values() for name in described.media_types]
    assert len({*suffixes}) == len(suffixes)
    assert len({*media_types}) == len(media_types)


@pytest.mark.parametrize("name", FORMATS)
def test_a_name_tells_the_format_whatever_its_case(name, tmp_path):
    for suffix in FORMATS[name].suffixes:
        assert format_of(tmp_path / f"x{suffix.upper()}") is FORMATS[name]
        if FORMATS[name].is_stream:
            assert format_of(tmp_path / f"x{suffix}.gz") is FORMATS[name]


def test_roles_are_listed():
    assert {"recordio", "libsvm", "csv", "parquet"} <= {*formats_for(Role.READ)}
    assert "parquet" not in formats_for(Role.WRITE)
    assert media_types_for(Role.REQUEST).keys() <= media_types_for(Role.CHANNEL).keys()


def test_the_table_costs_no_import_of_what_reads():
    script = (
        "import sys, fm_core.formats.registry; "
        "sys.exit(any(m.startswith(('pyarrow', 'scipy', 'pandas', 'fm_core.formats.registry.', "
        "'fm_core.formats.tables.encoder', 'fm_core.formats.text')) for m in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
