"""The graph IR: types, nodes, the graph under definition, and the Program that passes rewrite."""
