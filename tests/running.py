"""One run on a back end, from variables as they begin."""

from __future__ import annotations

import graphflow as tf


def run(backend, fetches, feeds=None):
    with tf.Session(backend=backend) as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches, feeds)
