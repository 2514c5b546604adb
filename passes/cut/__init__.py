"""What one run needs, cut out of the user's graph as a pure function."""
