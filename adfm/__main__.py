"""`python -m adfm RUN_DIR`: run or resume exactly that folder. Every rank of a torchrun starts here; Hydra does not."""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path

from adfm.config.command import user_errors
from adfm.config.run_folder import RunFolder, write_whole

INTERRUPTED = 130


def execute(path: Path) -> None:
    """Run or resume the run of a folder in this process, and mark it complete at its end."""
    from adfm.config.environment import environment
    from adfm.run import run

    folder = RunFolder(path)
    first = int(os.environ.get("RANK", "0")) == 0
    steps = folder.config.steps
    try:
        with folder.locked() if first else nullcontext():
            if first:
                write_whole(folder.path / "env.json", json.dumps(environment(), indent=2))
            run(path)
            if first:
                folder.complete(steps)
    except KeyboardInterrupt:
        if first:
            print(f"\nInterrupted. The same command resumes {path} from its last checkpoint.", file=sys.stderr)
        sys.exit(INTERRUPTED)


def main() -> None:
    """Read the folder from the command line and run it."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m adfm RUN_DIR")
    with user_errors():
        execute(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
