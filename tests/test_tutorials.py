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


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_sentence_pairs(capsys, cell):
    assert lesson("05_sentence_pairs").main(cell, size=1500, epochs=5) >= 0.5
    printed = capsys.readouterr().out
    assert f"cells are {cell}" in printed
    assert "different widths, 1 compilation\n" in printed
    assert "answered:" in printed and "test accuracy" in printed


def test_sentence_pairs_from_files(capsys, tmp_path):
    import entailment
    import snli

    pairs = entailment.corpus(240)
    files = str(tmp_path / "train.jsonl"), str(tmp_path / "test.txt")
    snli.write(files[0], pairs[:200])
    snli.write(files[1], pairs[200:])
    assert 0 <= lesson("05_sentence_pairs").main("gru", epochs=1, files=files) <= 1
    assert "200 pairs to learn from, 40 for the test" in capsys.readouterr().out


def test_spinn(capsys):
    answered, parsed = lesson("06_spinn").main(size=1500, epochs=5)
    assert answered >= 0.5
    assert parsed >= 0.9
    printed = capsys.readouterr().out
    assert "different trees, 1 compilation\n" in printed
    assert "parsed by the tracker:\n    (" in printed


def test_spinn_from_files(capsys, tmp_path):
    import entailment
    import snli

    pairs = entailment.corpus(240)
    files = str(tmp_path / "train.jsonl"), str(tmp_path / "test.txt")
    snli.write(files[0], pairs[:200])
    snli.write(files[1], pairs[200:])
    answered, parsed = lesson("06_spinn").main(epochs=1, files=files)
    assert 0 <= answered <= 1 and 0 <= parsed <= 1
    assert "200 pairs to learn from, 40 for the test" in capsys.readouterr().out


def test_characters(capsys, tmp_path):
    pytest.importorskip("PIL")
    picture = tmp_path / "surprises.png"
    bits = lesson("07_characters").main(size=40_000, epochs=8, most=80, picture=str(picture))
    assert bits < 3  # by their frequency alone, letters take more than 4
    printed = capsys.readouterr().out
    assert "[1.0] Once " in printed
    assert "letters written a second" in printed
    assert picture.stat().st_size > 5000


def test_characters_of_a_file(capsys, tmp_path):
    path = tmp_path / "poem.txt"
    path.write_text("roses are red, violets are blue\n" * 600)
    assert lesson("07_characters").main(epochs=12, most=40, file=str(path)) < 1.0
    told = capsys.readouterr().out.partition("[0.4] ")[2].partition("\n")[0]
    assert told == "roses are red, violets are blue"


def test_from_session_to_cpp(capsys, tmp_path):
    pytest.importorskip("sklearn")
    here, there = lesson("08_from_session_to_cpp").main(folder=str(tmp_path))
    printed = capsys.readouterr().out
    assert there > here and there >= 0.94
    # What the session finds with the program's variables is what the program found.
    assert f"in C++: {here:.4f}\n" in printed
    assert f"in C++: {there:.4f}\nhere, with the variables of the program: {there:.4f}" in printed
