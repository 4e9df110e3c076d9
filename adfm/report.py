"""`python -m adfm.report`: the page of a run (`run=<folder>`, or the newest), or the table of a study (`study=`)."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from adfm.config.command import command
from adfm.config.run_folder import newest
from adfm.tracking import study
from adfm.tracking.html import report


@command("report")
def main(config: DictConfig) -> None:
    """Write the page or the table, and print where it is."""
    if config.study is not None:
        _tabulate(Path(config.study), list(config.metrics))
    else:
        folder = Path(config.run) if config.run is not None else newest(Path(config.runs)).path
        print(report.write(folder))


def _tabulate(folder: Path, metrics: list[str]) -> None:
    cells = study.cells(folder)
    study.write_csv(folder / "results.csv", cells)
    print(study.markdown(cells, metrics))
    print(folder / "results.csv")


if __name__ == "__main__":
    main()
