"""`python -m app.frontends POST`: a process that the supervisor starts."""

from __future__ import annotations

import sys

from app.frontends.processes import main

if __name__ == "__main__":
    main(sys.argv[1])
