"""Builds `graphflow._native`: the C11 core, then the C++17 module that shows it to Python.

The core is compiled apart, with flags of its own, because hosts that embed exported models compile
these very files as plain C. Everything else about the package stands in pyproject.toml.
GRAPHFLOW_WARNINGS=error in the environment turns warnings into errors.
"""

import os
from pathlib import Path

import numpy
import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CORE = sorted(str(path) for path in Path("native/core").glob("*.c"))
MODULE = sorted(str(path) for path in Path("native/python").glob("*.cpp"))
HEADERS = sorted(str(path) for path in Path("native").rglob("*.h*"))

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow"]
if os.environ.get("GRAPHFLOW_WARNINGS") == "error":
    WARNINGS.append("-Werror")
SHARED = ["-O2", "-g0", "-pthread", "-fvisibility=hidden"]


class BuildNative(build_ext):
    """Compiles C and C++ each by its own standard, and links them together."""

    def build_extension(self, ext):
        objects = self.compiler.compile(
            CORE,
            output_dir=self.build_temp,
            include_dirs=["native/include", "native/core"],
            extra_postargs=["-std=c11", *SHARED, *WARNINGS],
            depends=HEADERS,
        )
        ext.extra_objects = objects
        super().build_extension(ext)


setup(
    ext_modules=[
        Extension(
            "graphflow._native",
            MODULE,
            # Others' headers are system headers: their warnings are not ours.
            include_dirs=["native/include"],
            extra_compile_args=[
                "-std=c++17",
                *SHARED,
                *WARNINGS,
                f"-isystem{numpy.get_include()}",
                f"-isystem{pybind11.get_include()}",
            ],
            extra_link_args=["-pthread"],
            depends=[*CORE, *HEADERS],
            language="c++",
        )
    ],
    cmdclass={"build_ext": BuildNative},
)
