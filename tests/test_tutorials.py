"""The lessons, run as the programs they are."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "tutorials"


def lesson(name: str):
    spec = importlib.util.spec_from_file_location(f"lesson_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_xor(capsys):
    assert lesson("01_xor").main() == [0, 1, 1, 0]
    assert "1 xor 1 = 0" in capsys.readouterr().out


def test_fizzbuzz(capsys):
    right = lesson("02_fizzbuzz").main()
    printed = capsys.readouterr().out
    assert right >= 95
    assert f"{right} of 100 are right" in printed
    assert "11 fizz 13 14 fizzbuzz" in printed


def test_digits(capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("tqdm")
    assert lesson("digits").main() >= 0.97
    printed = capsys.readouterr()
    assert "test accuracy" in printed.out
    assert "images/s" in printed.err
