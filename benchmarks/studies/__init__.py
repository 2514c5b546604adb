"""Figures of the compiler by itself: each module prints what it measures, beside what is wanted."""
