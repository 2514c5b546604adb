"""What tests of the C core share."""

import pytest
from weights_files import SOURCES, Core, compile_c


@pytest.fixture(scope="session")
def weights_core(tmp_path_factory):
    """The readers and the writer of weights and manifests, through ctypes."""
    library = tmp_path_factory.mktemp("core") / "libweights.so"
    return Core(compile_c(library, SOURCES, "-O2", "-fPIC", "-shared"))
