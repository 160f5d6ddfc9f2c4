"""`python -m app ...` is `durian ...`."""

from app.cli import main

main()
