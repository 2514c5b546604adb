"""Benchmarks: workloads on graphflow and on the systems people would use instead.

make bench                                   everything; the report goes to benchmarks/results/
make bench NAME=resnet18 SYSTEMS=torch,jax   some of it

See README.md in this folder.
"""
