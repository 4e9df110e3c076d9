"""A ten-step run of the embedded model on committed completions, as a script, so that torchrun can run it on two ranks.

python tests/grpo/golden_run.py OUTPUT.json                   # what test_golden.py compares
python tests/grpo/golden_run.py --draw                        # draw tests/golden/trajectory_completions.json anew
python tests/grpo/golden_run.py tests/golden/trajectory.json  # and commit what it then gives, with the reason
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from adfm.config.compose import build, compose
from adfm.evaluation.plan import model_config
from adfm.grpo import loop
from adfm.grpo.collect import Collector, PromptStream
from adfm.grpo.distributed import Ranks
from adfm.grpo.engine import Engine
from adfm.grpo.logprob import Scorer
from adfm.grpo.objective import GRPO
from adfm.grpo.reference import FrozenCopy
from adfm.grpo.rollout import Sampling
from adfm.grpo.rows import RowMaker
from adfm.models.vlm import VLM
from adfm.types import Completion, Prompt, StepRecord

COMPLETIONS = Path(__file__).resolve().parents[1] / "golden" / "trajectory_completions.json"
SAMPLES, GROUP_SIZE, STEPS, PROMPTS_PER_STEP = 16, 4, 10, 4
OVERRIDES = [
    *(f"dataset.train={SAMPLES}", "dataset.train_from=0", "dataset.val=2", "dataset.test=2"),
    *("reward=fine_grained", "model.learning_rate=5.0e-5"),
]
KEPT = ("loss", "kl", "entropy", "grad_norm", "learning_rate", "reward/total_mean", "groups/without_spread")


class Scripted:
    """Gives every prompt the completions that are committed for it."""

    group_size = GROUP_SIZE
    temperature = 1.0
    resample = 0

    def __init__(self, vlm: VLM) -> None:
        self.vlm = vlm
        self.texts: dict[str, list[str]] = json.loads(COMPLETIONS.read_text())

    def sample(self, prompts: Sequence[Prompt], *, seed: int) -> list[tuple[Completion, ...]]:
        return [tuple(self._completion(text) for text in self.texts[prompt.id]) for prompt in prompts]

    def _completion(self, text: str) -> Completion:
        ids = np.array([*self.vlm.tokenize(text), self.vlm.end_token_ids[0]])
        return Completion(token_ids=ids, sampler_logprob=np.zeros(len(ids), np.float32), text=text, truncated=False)


class Recorder:
    """Keeps the metrics of every step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def before_run(self, run: object) -> None: ...

    def after_step(self, record: StepRecord) -> None:
        self.steps.append({name: record.metrics[name] for name in KEPT})

    def after_run(self) -> None: ...


def resolved() -> DictConfig:
    """Compose the run's config, as a run's own config.yaml has it."""
    config = compose("train", OVERRIDES)
    OmegaConf.resolve(config)
    return config


def trajectory() -> dict[str, Any] | None:
    """Run; return the metrics of each step and the parameters' norms, or None on ranks other than 0."""
    config = resolved()
    ranks = Ranks()
    vlm = VLM.load(model_config(config.model), device=ranks.device, train=True)
    template, reward = build(config.reasoning), build(config.reward)
    objective = GRPO(beta=0.04)
    reference = FrozenCopy(vlm, 1.0)
    engine = Engine(
        Scorer(vlm),
        optimizer=build(config.optimizer.algorithm),
        schedule=build(config.optimizer.schedule),
        max_grad_norm=1.0,
        deepspeed={"zero_optimization": {"stage": 0}},
        dtype=torch.float32,
        total_steps=STEPS,
        device=ranks.device,
    )
    samples = build(config.dataset).split("train")
    recorder = Recorder()
    loop.train(
        prompts=PromptStream(
            samples,
            template,
            vlm.frames,
            per_step=PROMPTS_PER_STEP,
            seed=0,
            rank=engine.rank,
            world_size=engine.world_size,
        ),
        collector=Collector(Scripted(vlm), template, reward),
        row_maker=RowMaker(vlm, objective, token_budget=2048),
        objective=objective,
        reference=reference,
        engine=engine,
        validate=lambda step: {},
        callbacks=[recorder],
        steps=STEPS,
    )
    norms = {name: float(weight.detach().norm()) for name, weight in vlm.model.named_parameters()}
    is_main = engine.rank == 0
    engine.close()
    return {"steps": recorder.steps, "norms": norms} if is_main else None


def draw() -> dict[str, list[str]]:
    """Draw completions from the embedded model, hot enough that some are wrong."""
    config = resolved()
    vlm = VLM.load(model_config(config.model), device="cpu", train=False)
    template = build(config.reasoning)
    prompts = [template.ask(sample, vlm.frames) for sample in build(config.dataset).split("train")]
    rollout = Sampling(vlm, completion_tokens=48, group_size=GROUP_SIZE, temperature=1.2)
    groups = rollout.sample(prompts, seed=0)
    return {p.id: [completion.text for completion in group] for p, group in zip(prompts, groups, strict=True)}


if __name__ == "__main__":
    if sys.argv[1] == "--draw":
        COMPLETIONS.write_text(json.dumps(draw(), indent=1) + "\n")
    elif (found := trajectory()) is not None:
        Path(sys.argv[1]).write_text(json.dumps(found, indent=1) + "\n")
