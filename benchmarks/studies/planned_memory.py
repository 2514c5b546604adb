"""Planned memory: the arena against its lower bound, and the peak known before running."""

from __future__ import annotations

import graphflow as tf

from . import models, timing


def main() -> None:
    timing.heading("memory: arena over its lower bound, planned peak against used")
    for name, build in {"XOR": models.xor, "FizzBuzz": models.fizzbuzz, "MLP": models.mlp}.items():
        with tf.Graph().as_default():
            session, train, loss, feeds = build()
            report = tf.explain([train, loss], session=session, feed_dict=feeds)
            used = session.measured_bytes([train, loss], feeds)
            bound = max(report.arena_lower_bound, 1)
            print(
                f"{name}: arena {report.arena_bytes} B, lower bound {report.arena_lower_bound} B, "
                f"planned peak {report.peak_bytes} B, used {used} B"
            )
            timing.verdict("arena over its lower bound", report.arena_bytes / bound, 1.1)
            session.close()
