"""The typed part of the configuration of every command; that of training is in `adfm.config.schema`."""

from __future__ import annotations

from adfm.config.command_schemas.evaluation import EvaluationConfig, MmadScoreConfig, ReportConfig
from adfm.config.command_schemas.inspection import CalibrateConfig, PredictConfig
from adfm.config.command_schemas.preparation import ColdStartConfig, DataConfig, RewardsConfig
from adfm.config.schema import TrainConfig

COMMANDS: dict[str, type] = {
    "train": TrainConfig,
    "coldstart": ColdStartConfig,
    "evaluate": EvaluationConfig,
    "predict": PredictConfig,
    "calibrate": CalibrateConfig,
    "report": ReportConfig,
    "rewards": RewardsConfig,
    "data": DataConfig,
    "mmad_score": MmadScoreConfig,
}
"""Command, which is also the name of its primary config, to its schema."""
