"""The CMake package of an export: find_package(NAME CONFIG) gives the target NAME::NAME."""

from __future__ import annotations

from collections.abc import Sequence

from ..version import __version__
from .commands import Build
from .model import Model


def config_file(model: Model, build: Build, present: Sequence[str]) -> str:
    """NAMEConfig.cmake. Paths are taken from where it lies, so exports can be moved."""
    name = model.name
    kind = {"static": "STATIC", "shared": "SHARED", "object": "OBJECT"}[build.kind]
    place = "OBJECTS" if build.kind == "object" else "LOCATION"
    files = ";".join(f"${{CMAKE_CURRENT_LIST_DIR}}/{file}" for file in build.libraries)
    lines = [
        f"# {name}, a compiled graph: link {name}::{name}, include {name}.h or {name}.hpp.",
        "cmake_minimum_required(VERSION 3.15)",
        "",
    ]
    if build.kind != "shared":
        lines += [_runtime(build, present), ""]
    lines += [
        f"if(NOT TARGET {name}::{name})",
        f"  add_library({name}::{name} {kind} IMPORTED)",
        f"  set_target_properties({name}::{name} PROPERTIES",
        f'    IMPORTED_{place} "{files}"',
        '    INTERFACE_INCLUDE_DIRECTORIES "${CMAKE_CURRENT_LIST_DIR}"',
        *(['    INTERFACE_LINK_LIBRARIES "graphflow::runtime"'] * (build.kind != "shared")),
        "  )",
        "endif()",
    ]
    if any(v.value is not None and v.embedded is None for v in model.variables):
        path = f"${{CMAKE_CURRENT_LIST_DIR}}/{name}.safetensors"
        lines += ["# The values of its variables.", f'set({name}_WEIGHTS "{path}")']
    return "\n".join(lines) + "\n"


def _runtime(build: Build, present: Sequence[str]) -> str:
    sources = [f for f in present if f.startswith("runtime/") and f.endswith(".c")]
    listed = "\n".join(f'  "${{CMAKE_CURRENT_LIST_DIR}}/{source}"' for source in sorted(sources))
    threads = "ON" if build.threads else "OFF"
    return f"""\
# The runtime, compiled once for all models of a host: the newest of those that come with them,
# which runs what older ones brought it.
set(_graphflow_sources
{listed}
)
get_property(_graphflow_languages GLOBAL PROPERTY ENABLED_LANGUAGES)
if(NOT "C" IN_LIST _graphflow_languages)
  enable_language(C)
endif()
option(GRAPHFLOW_THREADS "Whether models run on several threads" {threads})
if(NOT TARGET graphflow_runtime)
  add_library(graphflow_runtime STATIC ${{_graphflow_sources}})
  add_library(graphflow::runtime ALIAS graphflow_runtime)
  target_include_directories(graphflow_runtime PRIVATE "${{CMAKE_CURRENT_LIST_DIR}}/runtime")
  target_link_libraries(graphflow_runtime PUBLIC m)
  if(GRAPHFLOW_THREADS)
    find_package(Threads REQUIRED)
    target_link_libraries(graphflow_runtime PUBLIC Threads::Threads)
  else()
    target_compile_definitions(graphflow_runtime PRIVATE GF_NO_THREADS)
  endif()
  set_target_properties(graphflow_runtime PROPERTIES
    C_STANDARD 11
    POSITION_INDEPENDENT_CODE ON
    GRAPHFLOW_VERSION "{__version__}"
  )
else()
  get_target_property(_graphflow_version graphflow_runtime GRAPHFLOW_VERSION)
  if(_graphflow_version VERSION_LESS "{__version__}")
    set_target_properties(graphflow_runtime PROPERTIES
      SOURCES "${{_graphflow_sources}}"
      INCLUDE_DIRECTORIES "${{CMAKE_CURRENT_LIST_DIR}}/runtime"
      GRAPHFLOW_VERSION "{__version__}"
    )
  endif()
endif()
unset(_graphflow_languages)
unset(_graphflow_sources)
unset(_graphflow_version)"""


def version_file(model: Model) -> str:
    """NAMEConfigVersion.cmake: later versions of the first number's are compatible; before 1.0,
    those of the second's."""
    return f"""\
set(PACKAGE_VERSION "{__version__}")
if(PACKAGE_VERSION VERSION_LESS PACKAGE_FIND_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE FALSE)
else()
  string(REGEX MATCH "^(0\\\\.)?[0-9]+" _graphflow_here "${{PACKAGE_VERSION}}")
  string(REGEX MATCH "^(0\\\\.)?[0-9]+" _graphflow_asked "${{PACKAGE_FIND_VERSION}}")
  if("${{_graphflow_asked}}" STREQUAL "" OR _graphflow_here STREQUAL _graphflow_asked)
    set(PACKAGE_VERSION_COMPATIBLE TRUE)
  else()
    set(PACKAGE_VERSION_COMPATIBLE FALSE)
  endif()
  if(PACKAGE_VERSION VERSION_EQUAL PACKAGE_FIND_VERSION)
    set(PACKAGE_VERSION_EXACT TRUE)
  endif()
  unset(_graphflow_here)
  unset(_graphflow_asked)
endif()
"""


__all__ = ["config_file", "version_file"]
