"""Rules every test runs under."""

from __future__ import annotations

import functools
import os
import signal

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Shells start programs in the background so; tests of Ctrl-C need Python's own handler.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def fresh_graph():
    """Each test defines into its own default graph."""
    from graphflow.ir import graph

    graph.reset_default_graph()
    yield
    graph._stack.sessions.clear()


@pytest.fixture(params=["reference", "op-by-op", "compiled"])
def backend(request):
    """The test runs once for each."""
    return request.param


@pytest.fixture
def every_backend(backend, monkeypatch):
    """The test runs once for each: sessions that it opens without a back end have this one."""
    import graphflow

    session = functools.partial(graphflow.Session, backend=backend)
    monkeypatch.setattr(graphflow, "Session", session)
    return backend


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Where skips are forbidden, a skipped test is a failed one."""
    outcome = yield
    report = outcome.get_result()
    if (
        report.skipped
        and os.environ.get("GRAPHFLOW_TEST_NO_SKIPS")
        and not hasattr(report, "wasxfail")
    ):
        report.outcome = "failed"
        report.longrepr = f"skips are forbidden here: {report.longrepr}"
