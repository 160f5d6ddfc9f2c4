"""What Durian measures of itself. `python -m tests.benchmarks` writes docs/benchmarks.md.

A benchmark is a file in `suite/`: one function under `@benchmark` that yields rows.
"""
