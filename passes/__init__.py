"""The passes: each rewrites a Program, or takes it one form further down, to the Plan.

Rooms import only the rooms before them: analysis, rewrite, loops, cut and gradients; then fusion,
lowering, contraction, convolution and attention, which `lower` chooses among; then the pipeline;
then planning.
"""
