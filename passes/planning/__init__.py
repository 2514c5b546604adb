"""Clusters to the Plan: order, memory, launches, and what a budget demands."""
