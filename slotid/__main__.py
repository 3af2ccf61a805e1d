"""``python -m slotid``: see :mod:`slotid.cli.main`."""

import sys

from slotid.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
