"""Decoding what strangers send, in child processes with bounds: a decoder that crashes takes nothing along.

`decoders.py` is what the service asks; `pool.py` lends it children; `nursery.py` has them forked from
`template.py`, a process with the libraries loaded; `child.py` is what they do.
"""
