"""
The same tool under other recorders, side by side: ``python -m benchmarks.peers``.

Each peer has a virtual environment of its own. Invariant: every figure of one
table comes from one run on one machine, and a peer that cannot be installed or
run is a line of the table that says why.
"""
