"""What lies beside an exported library: packages for CMake and pkg-config, commands, a manifest."""

import ctypes
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import hosts
import numpy as np
import pytest

import graphflow as gf

KINDS = ["static", "shared", "object"]


def export(folder, kind="static", weights="file"):
    gf.reset_default_graph()
    signatures, graph = hosts.digits()
    with hosts.session() as session:
        files = gf.export(folder, signatures, session, name="digits", kind=kind, weights=weights)
        zeros = np.zeros((1, 64), np.float32)
        p = session.run(graph["p"], {graph["x"]: zeros})
    return files, f"p[0] = {p[0, 0]:g}\n"


def export_twice(folder, kind="static"):
    gf.reset_default_graph()
    x = gf.placeholder(gf.float32, [None], name="x")
    factor = gf.Variable(np.float32(2), name="factor")
    with gf.Session() as session:
        session.run(gf.global_variables_initializer())
        signatures = {"predict": {"feeds": {"x": x}, "fetches": {"y": x * factor}}}
        gf.export(folder, signatures, session, name="twice", kind=kind, weights="embedded")


def compilers(folder, cc, cxx):
    """An environment in which cc and c++ are these."""
    folder.mkdir()
    for name, tool in (("cc", cc), ("c++", cxx)):
        (folder / name).symlink_to(hosts.compiler(tool))
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.parametrize("weights", ["file", "embedded"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("cc", "cxx"), [("gcc", "g++"), ("clang", "clang++")])
def test_one_command_makes_the_example_a_program(tmp_path, kind, weights, cc, cxx):
    folder = tmp_path / "export"
    _, expected = export(folder, kind, weights)
    source = (folder / "example.cpp").read_text()
    command = source.splitlines()[0].removeprefix("// ")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert command == manifest["build"]["c++"]
    assert command in (folder / "digits.hpp").read_text()
    assert manifest["build"]["c"] in (folder / "digits.h").read_text()
    hosts.run(["sh", "-c", command], cwd=folder, env=compilers(tmp_path / "bin", cc, cxx))
    assert hosts.run([folder / "example"], cwd=folder) == expected
    assert len(source.splitlines()) <= 25


CMAKE = """
cmake_minimum_required(VERSION 3.15)
project(host CXX)
find_package(digits 0.1 CONFIG REQUIRED)
find_package(twice CONFIG REQUIRED)
find_package(digits CONFIG REQUIRED)
add_executable(host host.cpp)
target_compile_features(host PRIVATE cxx_std_17)
target_compile_options(host PRIVATE -Wall -Wextra -Werror)
target_compile_definitions(host PRIVATE WEIGHTS="${digits_WEIGHTS}")
target_link_libraries(host PRIVATE digits::digits twice::twice)
"""
HOST = """
#include <cstdio>
#include "digits.hpp"
#include "twice.hpp"
int main()
{
    digits::Options options;
    options.weights = WEIGHTS;
    digits::Model model(options);
    const std::vector<float> x(64), three{3};
    std::printf("p[0] = %g\\n", static_cast<double>(model.predict({x}).p[0]));
    std::printf("%g\\n", static_cast<double>(twice::Model(twice::Options()).predict({three}).y[0]));
}
"""


def tool(name):
    """A tool of the system, or one that pip has put beside this Python."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_cmake_project_uses_two_models(tmp_path, kind):
    cmake = tool("cmake")
    _, expected = export(tmp_path / "models" / "digits", kind)
    export_twice(tmp_path / "models" / "twice", kind)
    (tmp_path / "models").rename(tmp_path / "moved to")  # nothing holds where it was exported
    source = tmp_path / "host"
    source.mkdir()
    (source / "CMakeLists.txt").write_text(CMAKE)
    (source / "host.cpp").write_text(HOST)
    places = ";".join(str(tmp_path / "moved to" / name) for name in ("digits", "twice"))
    build = tmp_path / "build"
    hosts.run([
        cmake, "-S", source, "-B", build, "-G", "Unix Makefiles", "-DCMAKE_CXX_COMPILER=g++",
        "-DCMAKE_C_COMPILER=gcc", f"-DCMAKE_PREFIX_PATH={places}",
    ])  # fmt: skip
    hosts.run([cmake, "--build", build])
    assert hosts.run([build / "host"]) == f"{expected}6\n"


def test_cmake_takes_the_newest_runtime_and_refuses_versions_it_has_not(tmp_path):
    cmake = tool("cmake")
    for name, exported in (("digits", export), ("twice", export_twice)):
        exported(tmp_path / name)
    later = tmp_path / "twice" / "twiceConfig.cmake"
    later.write_text(later.read_text().replace(f'"{gf.__version__}"', '"0.9.0"'))
    project = CMAKE.replace(
        "add_executable",
        """
get_target_property(version graphflow_runtime GRAPHFLOW_VERSION)
get_target_property(sources graphflow_runtime SOURCES)
message(STATUS "runtime ${version} ${sources}")
add_executable""",
    )
    places = f"-DCMAKE_PREFIX_PATH={tmp_path / 'digits'};{tmp_path / 'twice'}"
    (tmp_path / "CMakeLists.txt").write_text(project)
    (tmp_path / "host.cpp").write_text(HOST)
    printed = hosts.run([cmake, "-S", tmp_path, "-B", tmp_path / "build", places])
    line = next(row for row in printed.splitlines() if "runtime 0.9.0" in row)
    assert str(tmp_path / "twice" / "runtime") in line and "digits/runtime" not in line
    hosts.run([cmake, "--build", tmp_path / "build", "--target", "graphflow_runtime"])
    (tmp_path / "CMakeLists.txt").write_text(CMAKE.replace("digits 0.1", "digits 7.3"))
    with pytest.raises(AssertionError, match="version"):
        hosts.run([cmake, "-S", tmp_path, "-B", tmp_path / "other", places])


@pytest.mark.parametrize("kind", KINDS)
def test_pkg_config_knows_how_to_build_a_host_of_two_models(tmp_path, kind):
    pkg_config = tool("pkg-config")
    _, expected = export(tmp_path / "digits", kind)
    export_twice(tmp_path / "twice", kind)
    (tmp_path / "host.c").write_text("""
#include <stdio.h>
#include "digits.h"
#include "twice.h"
int main(void)
{
    static float x[64], p[10], y[1];
    const float three = 3;
    digits_options options = {.weights = "digits/digits.safetensors"};
    digits_model *digits;
    twice_model *twice;
    if (digits_create(&options, &digits) || digits_predict(digits, 1, x, p) ||
        twice_create(NULL, &twice) || twice_predict(twice, 1, &three, y)) {
        return 1;
    }
    printf("p[0] = %g\\n%g\\n", (double)p[0], (double)y[0]);
    digits_destroy(digits);
    twice_destroy(twice);
    return 0;
}
""")
    environment = {**os.environ, "PKG_CONFIG_PATH": f"{tmp_path / 'digits'}:{tmp_path / 'twice'}"}
    sources = "" if kind == "shared" else "$(pkg-config --variable=sources graphflow-runtime)"
    command = f"gcc -O1 -o host host.c {sources} $(pkg-config --cflags --libs digits twice)"
    hosts.run([pkg_config, "--exists", "--print-errors", "digits"], env=environment)
    hosts.run(["sh", "-ec", command], cwd=tmp_path, env=environment)
    assert hosts.run([tmp_path / "host"], cwd=tmp_path) == f"{expected}6\n"


def test_the_manifest_says_what_there_is(tmp_path):
    files, _ = export(tmp_path)
    content = (tmp_path / "manifest.json").read_bytes()
    manifest = json.loads(content)
    assert content.decode() == json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    assert manifest["format"] == 1 and manifest["version"] == gf.__version__
    assert (manifest["name"], manifest["kind"]) == ("digits", "static")
    assert (manifest["library"], manifest["weights"]) == ("libdigits.a", "digits.safetensors")
    assert manifest["signatures"]["train_step"] == {
        "sizes": [{"name": "batch", "where": "axis 0 of x, axis 0 of labels"}],
        "feeds": [
            {"name": "x", "dtype": "float32", "shape": ["batch", 64]},
            {"name": "labels", "dtype": "int64", "shape": ["batch"]},
        ],
        "outputs": [{"name": "loss", "dtype": "float32", "shape": []}],
        "writes_variables": True,
        "arena_bytes": None,
    }
    assert not manifest["signatures"]["predict"]["writes_variables"]
    assert {"name": "out/w", "dtype": "float32", "shape": [32, 10], "has_value": True} in manifest[
        "variables"
    ]
    written = {str(Path(f).relative_to(tmp_path)) for f in files} - {"manifest.json"}
    assert set(manifest["files"]) == written
    for name, row in manifest["files"].items():
        data = (tmp_path / name).read_bytes()
        assert row == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weights", ["file", "embedded"])
def test_the_runtime_reads_the_manifest(tmp_path, kind, weights):
    class Manifest(ctypes.Structure):
        _fields_ = [
            *((n, ctypes.c_char_p) for n in ("name", "version", "library", "weights", "target")),
            ("hash", ctypes.c_char_p), ("feature_count", ctypes.c_int32),
            ("features", ctypes.POINTER(ctypes.c_char_p)),
        ]  # fmt: skip

    export(tmp_path, kind, weights)
    native = Path(gf.__file__).parent / "native"
    names = ("manifest", "json", "files", "report", "memory", "sync")
    library = tmp_path / "libreader.so"
    hosts.run([
        hosts.compiler(), "-std=c11", "-fPIC", "-shared", f"-I{native / 'include'}",
        *(native / "core" / f"{name}.c" for name in names), "-o", library,
    ])  # fmt: skip
    core = ctypes.CDLL(str(library))
    found = ctypes.POINTER(Manifest)()
    message = ctypes.create_string_buffer(200)
    path = str(tmp_path / "manifest.json").encode()
    status = core.gf_manifest_open(path, ctypes.byref(found), message, 200)
    assert status == 0, message.value
    written = json.loads((tmp_path / "manifest.json").read_text())
    manifest = found.contents
    for name in ("name", "version", "target", "hash"):
        assert getattr(manifest, name).decode() == written[name]
    for name in ("library", "weights"):
        read = getattr(manifest, name)
        assert read == (written[name] and str(tmp_path / written[name]).encode())
        assert read is None or Path(read.decode()).exists()
    features = [manifest.features[i].decode() for i in range(manifest.feature_count)]
    assert features == written["features"]
