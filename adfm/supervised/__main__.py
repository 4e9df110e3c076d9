"""`python -m adfm.supervised FOLDER`: run or resume the cold start of a folder. Every rank starts here."""

from __future__ import annotations

import sys
from pathlib import Path

from adfm.config.command import user_errors
from adfm.supervised.run import ColdStart


def main() -> None:
    """Read the folder from the command line and run it."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m adfm.supervised FOLDER")
    with user_errors():
        ColdStart(Path(sys.argv[1])).run()


if __name__ == "__main__":
    main()
