"""`python -m adfm.evaluation.mmad answers=<file> scoring=official|strict out=<table.json>`: MMAD without a model."""

from __future__ import annotations

import json
from pathlib import Path

from omegaconf import DictConfig

from adfm.config.command import command
from adfm.config.compose import check
from adfm.errors import ConfigError
from adfm.files import write_whole


@command("mmad_score")
def main(config: DictConfig) -> None:
    """Print a finished answer file's tables beside the published rows; conf/mmad_score.yaml says what can be set."""
    from adfm.evaluation.mmad.answers import read_answers  # torch takes seconds, and --help needs none
    from adfm.evaluation.mmad.published import published
    from adfm.evaluation.mmad.scoring import tables
    from adfm.evaluation.mmad.show import comparison, shown

    check(config)
    if config.answers is None:
        raise ConfigError("answers: has no value; set it with answers=<a JSON file in MMAD's released format>")
    answers = read_answers(Path(config.answers), config.reading)
    others = published(None if config.published is None else Path(config.published))
    found = tables(answers, resamples=config.resamples)
    images = len({answer.image for answer in answers})
    print(f"{config.answers}: {len(answers)} answers about {images} images")
    print("percent; in brackets 95% intervals over images")
    for name, table in found.items():
        print(f"\n{shown(name, table)}")
    print(f"\n{comparison(found, others)}")
    if config.out is not None:
        _write(Path(config.out), json.dumps(found[config.scoring].percent(), indent=2) + "\n")
        print(f"\n{config.scoring} table: {config.out}")


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text)
    except OSError as error:
        raise ConfigError(f"out: cannot write {path}: {error}") from error


if __name__ == "__main__":
    main()
