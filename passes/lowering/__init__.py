"""Clusters to Loop IR: elementwise work, reductions, rows and transposes."""
