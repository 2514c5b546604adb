"""Contractions as Loop IR: tiles, packing and streams."""
