"""`python -m bench.paper`: write `results/paper.md`."""

import sys

from bench.paper.page import main

if __name__ == "__main__":
    sys.exit(main())
