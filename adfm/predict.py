"""`python -m adfm.predict`: images without labels, inspected by a checkpoint or a run. See conf/predict.yaml.

The exit status is 0 if all images are normal, 1 if some are anomalous, and 2 if some image or some verdict could not be
read, whatever the others are, or if the command is wrong; 130 if it was interrupted.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from adfm.config.command import command
from adfm.config.compose import check

INTERRUPTED = 130


@command("predict")
def main(config: DictConfig) -> None:
    """Inspect, say what was found, and leave with the status that says it."""
    check(config)
    from adfm.inspection import run, sources  # torch takes seconds, and a wrong config is told before
    from adfm.inspection.inspector import Inspector
    from adfm.team import Team

    OmegaConf.resolve(config)
    out = Path(config.out).expanduser()
    try:
        found = sources.find(config.images, out=out)
        load = partial(Inspector.of, config, threshold=config.threshold, masks=config.masks)
        with Team(config.nproc, load) as team:
            summary = run.predict(team.state, found, out, batch=config.batch, team=team, fresh=config.fresh)
    except KeyboardInterrupt:
        print(f"\nInterrupted. The same command goes on with what {out} lacks.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    print(run.told(summary, out))
    sys.exit(summary["exit_status"])


if __name__ == "__main__":
    main()
