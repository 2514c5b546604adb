"""The passes: each rewrites a Program, or takes it one form further down, to the Plan."""
