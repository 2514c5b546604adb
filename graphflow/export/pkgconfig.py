"""Files for pkg-config, which find their folder by themselves: exports can be moved."""

from __future__ import annotations

from ..version import __version__
from .commands import Build
from .model import Model

RUNTIME = "graphflow-runtime"


def model_package(model: Model, build: Build) -> str:
    """NAME.pc. The runtime is a package of its own, so that a host of several models has it
    once."""
    if build.kind == "shared":
        libs = f"-L${{pcfiledir}} -l{model.name} -Wl,-rpath,${{pcfiledir}}"
    else:
        libs = " ".join(f"${{pcfiledir}}/{name}" for name in build.libraries)
    lines = [
        f"Name: {model.name}",
        "Description: a compiled graph",
        f"Version: {__version__}",
        "Cflags: -I${pcfiledir}",
        f"Libs: {libs}",
    ]
    if build.kind != "shared":
        lines.insert(3, f"Requires: {RUNTIME}")
    return "\n".join(lines) + "\n"


def runtime_package(build: Build) -> str:
    """graphflow-runtime.pc. The runtime comes as source, which a host compiles with its own:

    cc host.c $(pkg-config --variable=sources graphflow-runtime) $(pkg-config --cflags --libs NAME)
    """
    flags, links = (" -pthread",) * 2 if build.threads else (" -DGF_NO_THREADS", "")
    return f"""\
# The runtime of exported models comes as C11 source, one for all models of a host:
#     cc host.c $(pkg-config --variable=sources graphflow-runtime) \\
#         $(pkg-config --cflags --libs NAME OTHER)
sources=${{pcfiledir}}/runtime/[a-z]*.c

Name: {RUNTIME}
Description: what exported models run on
Version: {__version__}
Cflags: -I${{pcfiledir}}/runtime{flags}
Libs:{links} -lm
"""


__all__ = ["RUNTIME", "model_package", "runtime_package"]
