"""`python -m adfm RUN_DIR`: run or resume exactly that folder. Every rank of a torchrun starts here; Hydra does not."""

from __future__ import annotations

import sys
from pathlib import Path

from adfm.config.command import user_errors
from adfm.run import execute


def main() -> None:
    """Read the folder from the command line and run it."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m adfm RUN_DIR")
    with user_errors():
        execute(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
