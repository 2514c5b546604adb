"""A session for tests: fetches are nests of output numbers, feed keys are feed numbers."""

from __future__ import annotations

import numpy as np

from graphflow import runtime


class HookError(Exception):
    """Raised by every hook; `args` are the hook's name and what it was told."""


class Session(runtime.Session):
    def __init__(self, description: runtime.Description, threads: int = 0, **options):
        pool = runtime.ThreadPool(threads) if threads else None
        super().__init__(pool=pool, **options)
        self.executable = description.load()
        self.prepared = 0
        self.profiles = []
        self.converters = None
        for state in description.states:
            self.state_define(state.slot, f"v{state.slot}", np.dtype(state.dtype), None)

    def _prepare(self, fetches, feed_keys, feed_dict=None):
        self.prepared += 1
        return runtime.Call(
            self.executable, fetches, list(feed_keys), self.converters, info=("info", fetches)
        )

    def _feed_error(self, call, feed, value, error):
        raise HookError("feed", feed, error)

    def _feed_size_error(self, call, feed, axis, actual, expected):
        raise HookError("feed size", feed, axis, actual, expected)

    def _size_error(self, call, message, a, b, shapes):
        raise HookError("size", message, a, b, shapes)

    def _uninitialized(self, call, slots):
        raise HookError("uninitialized", slots)

    def _run_error(self, call, status, site, values, launch, evidence):
        raise HookError("run", status, site, values, launch)

    def _profiled(self, call, records, options, run_metadata):
        self.profiles.append((records, options, run_metadata))
