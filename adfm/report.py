"""`python -m adfm.report`: the page of a run (`run=`, or the newest), or the tables and curves of a study (`study=`).

A study writes `results.csv` (each cell), `pooled.csv` (each arm over its seeds, paired by image), `study.html` and
`study.svg` beside its `sweep.yaml`; another sweep of its folder, such as `tune.yaml`, writes `tune-results.csv`, ...
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from adfm.config.command import command
from adfm.config.run_folder import newest
from adfm.tracking import arms, study
from adfm.tracking.html import report
from adfm.tracking.html import study as page
from adfm.tracking.html.arms import markdown, tables_of


@command("report")
def main(config: DictConfig) -> None:
    """Write the page or the tables, and print where they are."""
    if config.study is not None:
        _tabulate(study.sweep_file(Path(config.study)), list(config.metrics))
    else:
        folder = Path(config.run) if config.run is not None else newest(Path(config.runs)).path
        print(report.write(folder))


def _tabulate(sweep: Path, metrics: list[str]) -> None:
    cells = study.cells(sweep)
    found = arms.arms(cells)
    rows = [*arms.evaluated(found), *arms.validated(found)]
    tables = tables_of(rows, metrics)
    prefix = "" if sweep.stem == "sweep" else f"{sweep.stem}-"
    results, pooled, html, svg = (
        sweep.with_name(f"{prefix}{name}") for name in ("results.csv", "pooled.csv", "study.html", "study.svg")
    )
    study.write_csv(results, cells)
    arms.write_csv(pooled, rows)
    done = sum(cell.folder.completed_steps > 0 for cell in cells)
    title = f"{sweep.parent.name}, {sweep.stem}" if prefix else sweep.parent.name
    lead = f"{done} of {len(cells)} cells complete; {' × '.join(cells[0].choices)}"
    page.write(html, title=title, lead=lead, arms=found, tables=tables, text=sweep.read_text(encoding="utf-8"))
    drawn = page.write_figure(svg, found)
    print("\n\n".join([lead, study.markdown(cells, metrics), markdown(tables)]))
    print("\n".join(str(path) for path in (results, pooled, html, *([svg] if drawn else []))))


if __name__ == "__main__":
    main()
