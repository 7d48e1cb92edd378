"""`python -m sparsemark`: the command of this Python, whatever is on the path."""

import sys

from sparsemark.cli import main

if __name__ == "__main__":
    sys.exit(main())
