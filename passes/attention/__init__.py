"""Attention and its gradients by blocks."""
