"""The commands of `python -m graphflow`, one file each.

`add(commands)` tells argparse of a command; `run(chosen)` does it and gives the exit status.
"""
