"""`python -m adfm.report`: the page of a run (`run=`, or the newest), or the tables and curves of a study (`study=`).

With another run's folder as `against=`, the page of a run says also what the two were asked to do differently.

`python -m adfm.report compare RUN_A RUN_B` sets two evaluated runs side by side: tables in the terminal, and
`compare.html` and `compare.json` in `RUN_B/compare/<name of RUN_A>` (`out=` chooses another folder).

A study writes `results.csv` (each cell), `pooled.csv` (each arm over its seeds, paired by image), `study.html` and
`study.svg` beside its `sweep.yaml`; another sweep of its folder, such as `tune.yaml`, writes `tune-results.csv`, ...
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from adfm.config.command import command
from adfm.config.run_folder import newest
from adfm.errors import ConfigError
from adfm.files import write_whole


def main() -> None:
    """Run what the arguments of the process say."""
    sys.argv[1:] = overrides(sys.argv[1:])
    write()


def overrides(arguments: Sequence[str]) -> list[str]:
    """Say `compare RUN_A RUN_B` and `dataset=NAME` as Hydra wants it, for which `dataset` is a config group.

    >>> overrides(["compare", "runs/a", "runs/b", "dataset=visa"])
    ["compare=['runs/a','runs/b']", 'on=visa']
    >>> overrides(["run=runs/a"])
    ['run=runs/a']
    """
    arguments = [f"on={said.removeprefix('dataset=')}" if said.startswith("dataset=") else said for said in arguments]
    if "compare" not in arguments:
        return arguments
    at = arguments.index("compare")
    runs = [name for name in arguments[at + 1 : at + 3] if not name.startswith("-")]
    quoted = ",".join("'" + name.replace("'", r"\'") + "'" for name in runs)
    return [*arguments[:at], f"compare=[{quoted}]", *arguments[at + 1 + len(runs) :]]


@command("report")
def write(config: DictConfig) -> None:
    """Write the page or the tables, and print where they are."""
    from adfm.tracking import study  # torch takes seconds
    from adfm.tracking.html import report

    if config.against is not None and (config.compare or config.study):
        raise ConfigError("against: goes with the page of a run; leave compare and study out, or against")
    if config.compare is not None:
        _compare(config)
    elif config.study is not None:
        _tabulate(study.sweep_file(Path(config.study)), list(config.metrics))
    else:
        folder = Path(config.run) if config.run is not None else newest(Path(config.runs)).path
        print(report.write(folder, against=None if config.against is None else Path(config.against)))


def _compare(config: DictConfig) -> None:
    from adfm.tracking import compare
    from adfm.tracking.html import compare as compare_page

    if len(config.compare) != 2:
        raise ConfigError("compare takes two runs: python -m adfm.report compare RUN_A RUN_B")
    first, second = map(Path, config.compare)
    found = compare.compare(first, second, config.on)
    folder = second / "compare" / found.first.replace("/", "-") if config.out is None else Path(config.out)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "compare.json", found.to_json())
    page = compare_page.write(folder / "compare.html", found)
    print(f"{found.text()}\n\n{folder / 'compare.json'}\n{page}")


def _tabulate(sweep: Path, metrics: list[str]) -> None:
    from adfm.tracking import arms, study
    from adfm.tracking.html import study as page
    from adfm.tracking.html.arms import markdown, tables_of

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
    text = sweep.read_text(encoding="utf-8")
    page.write(html, title=title, lead=lead, arms=found, tables=tables, text=text, cells=cells)
    drawn = page.write_figure(svg, found)
    print("\n\n".join([lead, study.markdown(cells, metrics), markdown(tables)]))
    print("\n".join(str(path) for path in (results, pooled, html, *([svg] if drawn else []))))


if __name__ == "__main__":
    main()
