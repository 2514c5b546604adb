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


def test_simplecnn(capsys, tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("PIL")
    picture = tmp_path / "filters.png"
    assert lesson("03_simplecnn").main(epochs=8, picture=str(picture)) >= 0.9
    printed = capsys.readouterr().out
    assert "patches recognised" in printed
    assert "MB at most" in printed
    assert picture.stat().st_size > 5000


def test_linknet(capsys, tmp_path):
    pytest.importorskip("PIL")
    picture = tmp_path / "masks.png"
    assert lesson("04_linknet").main(steps=60, picture=str(picture)) >= 0.4
    assert "mean overlap" in capsys.readouterr().out
    assert picture.stat().st_size > 5000
