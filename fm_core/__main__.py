"""``python -m fm_core`` is `fm`."""

import sys

from fm_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
