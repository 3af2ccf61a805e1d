"""Law 13: the core, end to end at small size, gives the numbers it gave (made by make.py beside this file)."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from make import FILE, numbers  # noqa: E402


def test_law_13_golden_numbers():
    wanted, got = json.loads(FILE.read_text()), numbers()
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        assert got[name] == pytest.approx(value, rel=2e-3, abs=1e-5), name


def test_law_13_one_step_changes_the_loss_and_gradients_are_alive():
    wanted = json.loads(FILE.read_text())
    assert wanted["loss_after_one_step"] < wanted["loss"]
    assert wanted["gradient_method"] > 1e-4 and wanted["gradient_lora"] > 1e-4
    assert wanted["film_deviation"] > 1
