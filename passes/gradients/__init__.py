"""Derivatives, made of operations of the same graph."""
