"""The C reader of manifests."""

import json

import pytest
from weights_files import BAD_FILE, IO_ERROR, Refused

WHOLE = {
    "format": 1,
    "name": "digits",
    "version": "1.2.0",
    "library": "libdigits.so",
    "weights": "digits.safetensors",
    "target": "x86_64-unknown-linux-gnu",
    "features": ["avx2", "fma"],
    "hash": "00ff" * 16,
    "signatures": {"predict": {"feeds": [{"name": "x", "shape": [None, 784]}], "scale": 1e-3}},
}


def parse(core, content, folder=b"/models/digits"):
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    return core.manifest(content=content, folder=folder)


def test_reads_a_manifest_from_a_file(weights_core, tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(WHOLE, indent=1))
    expected = {key: WHOLE[key] for key in ("name", "version", "target", "hash", "features")}
    assert weights_core.manifest(path) == {
        **expected,
        "library": str(tmp_path / "libdigits.so"),
        "weights": str(tmp_path / "digits.safetensors"),
    }


def test_paths_are_the_folders(weights_core, tmp_path, monkeypatch):
    for folder, path in (
        (b"/models/digits", "/models/digits/libdigits.so"),
        (b"models/", "models/libdigits.so"),
        (b"/", "/libdigits.so"),
        (b"", "./libdigits.so"),  # a bare name would be looked for elsewhere
        (None, "./libdigits.so"),
    ):
        assert parse(weights_core, WHOLE, folder)["library"] == path
    (tmp_path / "manifest.json").write_text(json.dumps(WHOLE))
    monkeypatch.chdir(tmp_path)
    assert weights_core.manifest("manifest.json")["weights"] == "./digits.safetensors"
    assert weights_core.manifest("./manifest.json")["weights"] == "./digits.safetensors"


def test_an_export_may_lack_files(weights_core):
    read = parse(weights_core, {**WHOLE, "library": None, "weights": None, "features": []})
    assert (read["library"], read["weights"], read["features"]) == (None, None, [])


def test_unknown_keys_are_passed_over(weights_core):
    extra = {"made_by": ["x", {"deep": [[[-1.5e9, None]]]}], "zero": "\0", "": 1}
    assert parse(weights_core, {**extra, **WHOLE}) == parse(weights_core, WHOLE)


def test_many_features(weights_core):
    features = [f"f{i}" for i in range(1000)] + ["x"] * 1000
    assert parse(weights_core, {**WHOLE, "features": features})["features"] == features
    compact = json.dumps({**WHOLE, "features": ["x"] * 5000}, separators=(",", ":"))
    assert parse(weights_core, compact.encode())["features"] == ["x"] * 5000


@pytest.mark.parametrize("name", ["lib/libdigits.so", "..so", "a..b/c", ".hidden", "...", "ü/🦊"])
def test_names_that_stay_in_the_folder(weights_core, name):
    assert parse(weights_core, {**WHOLE, "library": name})["library"] == f"/models/digits/{name}"


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "..",
        ".",
        "../other.so",
        "lib/../../other.so",
        "lib/..",
        "lib//x.so",
        "lib/",
        "./x.so",
        "C:x.dll",
        "..\\x.dll",
        "\\\\server\\x.dll",
    ],
)
@pytest.mark.parametrize("key", ["library", "weights"])
def test_names_that_leave_the_folder(weights_core, key, name):
    with pytest.raises(Refused, match="leads out of the manifest's folder") as caught:
        parse(weights_core, {**WHOLE, key: name})
    assert caught.value.status == BAD_FILE


@pytest.mark.parametrize("key", WHOLE)
def test_all_of_it_has_to_be_there(weights_core, key):
    rest = {other: value for other, value in WHOLE.items() if other != key}
    with pytest.raises(Refused, match=f"the manifest lacks '{key}'") as caught:
        parse(weights_core, rest)
    assert caught.value.status == BAD_FILE


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format": 2}, "a manifest of format 2; this runtime reads 1"),
        ({"format": "1"}, "an integer is expected"),
        ({"name": ""}, "an empty string"),
        ({"name": None}, "a string is expected"),
        ({"name": "a\nb"}, "a control character in a string"),
        ({"name": "a\0b"}, "a zero character in a string"),
        ({"version": 1}, "a string is expected"),
        ({"library": ""}, "an empty string"),
        ({"library": 0}, "a string is expected"),
        ({"weights": ["w"]}, "a string is expected"),
        ({"target": {}}, "a string is expected"),
        ({"hash": "xyz"}, "a hash of other than hexadecimal digits"),
        ({"features": None}, "an array is expected"),
        ({"features": "avx2"}, "an array is expected"),
        ({"features": ["avx2", 3]}, "a string is expected"),
        ({"features": [""]}, "an empty string"),
        ({"signatures": []}, "an object is expected"),
    ],
)
def test_wrong_values(weights_core, change, text):
    with pytest.raises(Refused, match=text) as caught:
        parse(weights_core, {**WHOLE, **change})
    assert caught.value.status == BAD_FILE


def test_damaged_text(weights_core, tmp_path):
    text = json.dumps(WHOLE).encode()
    path = tmp_path / "manifest.json"
    for count in range(len(text)):
        with pytest.raises(Refused, match="damaged at its byte") as caught:
            parse(weights_core, text[:count])
        assert caught.value.status == BAD_FILE
    for damaged in (b"", b"[]", text + b"}", b"\xef\xbb\xbf" + text, b"\x7fELF", bytes(100)):
        path.write_bytes(damaged)
        with pytest.raises(Refused, match=f"^{path}: the manifest is damaged") as caught:
            weights_core.manifest(path)
        assert caught.value.status == BAD_FILE
    twice = text[:-1] + b', "name": "other"}'
    with pytest.raises(Refused, match="a key that is there twice"):
        parse(weights_core, twice)


def test_files_that_cannot_be_manifests(weights_core, tmp_path):
    path = tmp_path / "manifest.json"
    path.write_bytes(b" " * (17 << 20))
    with pytest.raises(Refused, match="too long") as caught:
        weights_core.manifest(path)
    assert caught.value.status == BAD_FILE
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(Refused, match="cannot (open|read): ") as caught:
            weights_core.manifest(missing)
        assert caught.value.status == IO_ERROR
