"""Benchmarks: each module prints its figures beside the peers that are installed.

make bench NAME=dispatch        one of them
make bench                      all of them
"""
