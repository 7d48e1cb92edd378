"""`python -m sparsemark.cli`: the command line where the `sparsemark` program is not on the path."""

import sys

from sparsemark.cli import main

sys.exit(main())
