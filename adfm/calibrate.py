"""`python -m adfm.calibrate`: an alarm threshold from normal images, kept with the model. See conf/calibrate.yaml."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from adfm.config.command import command
from adfm.config.compose import check


@command("calibrate")
def main(config: DictConfig) -> None:
    """Calibrate, store, and say what is promised and where it lies."""
    check(config)
    from adfm.inspection import calibrating, calibration, sources  # torch takes seconds
    from adfm.inspection.checkpoints import settings_of
    from adfm.inspection.inspector import Inspector

    OmegaConf.resolve(config)
    folder = calibration.home(settings_of(config)[0].path)
    normals = sources.find(config.normals)
    anomalous = [] if config.anomalous is None else sources.find(config.anomalous)
    promise = {"max_false_alarm": config.max_false_alarm, "confidence": config.confidence}
    together = calibrating.independent(normals, anomalous, similarity=config.similarity, **promise)
    inspector = Inspector.of(config, threshold=None, masks="none")
    found = calibrating.calibrate(inspector, normals, together, anomalous, **promise)
    print(calibrating.told(found))
    print(calibration.store(folder, found, otherwise=inspector.card))


if __name__ == "__main__":
    main()
