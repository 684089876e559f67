"""docs/how-to/models.md knows the options that there are, and no others."""

import argparse
import importlib
import re

import pytest

from fm_core.cli import COMMANDS
from tests.conftest import ROOT

OPENING = ("catalogue", "embeddings", "explain", "inspect", "predict")
PAGE = (ROOT / "docs/how-to/models.md").read_text()


def options(command):
    parser = argparse.ArgumentParser()
    importlib.import_module(COMMANDS[command].module).add_arguments(parser)
    return {option for action in parser._actions for option in action.option_strings if option.startswith("--")}


@pytest.mark.parametrize("command", OPENING)
def test_a_command_has_a_section_and_every_option_in_it_exists(command):
    section = PAGE.split(f"\n## fm {command}\n")[1].split("\n## ")[0]
    assert set(re.findall(r"`(--[\w-]+)", section)) <= options(command)


def test_every_option_is_documented_but_those_that_only_say_how_a_file_is_read():
    reading = {"--first-id", "--unseen", "--help", "--num-threads", "--delimiter", "--encoding"}
    reading |= {"--header", "--no-header", "--quotes", "--no-quotes"}
    assert set().union(*map(options, OPENING)) - set(re.findall(r"`(--[\w-]+)", PAGE)) <= reading
