"""TRL's side: its GRPOTrainer in its own training loop, held after every step until the next one is wanted.

TRL makes its processor with a video processor, which needs torchvision. Where the only torchvision to be had is built
for another torch, it cannot be imported. No video is shown here, so the processor is put together without that part;
tokenizer and image processor (the PIL one, as adfm's) are the checkpoint's own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

import numpy as np
import torch
from datasets import Dataset, Image, List
from peers import Gradient, Orders, StepTimes, gradients, moved, serve
from peft import LoraConfig
from PIL import Image as Pillow
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer, TrainerCallback
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
from transformers.processing_utils import ProcessorMixin
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

DESCRIBED = (
    *("per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation", "num_generations"),
    *("num_iterations", "max_completion_length", "temperature", "top_p", "top_k", "min_p", "repetition_penalty"),
    *("loss_type", "scale_rewards", "use_bias_correction_kl", "beta", "epsilon", "epsilon_high", "max_grad_norm"),
    *("optim", "learning_rate", "lr_scheduler_type", "weight_decay", "adam_beta1", "adam_beta2", "bf16"),
    *("activation_checkpointing", "disable_dropout", "cast_lm_head_to_fp32", "torch_compile", "dataloader_num_workers"),
)
"""Arguments of the trainer that a benchmark says."""


class TrlPrompt(TypedDict):
    """One prompt as TRL is given it."""

    messages: list[dict[str, Any]]
    images: list[Path]
    rewards: list[float]
    """Of its completions, whatever they say."""


@dataclass(frozen=True, kw_only=True)
class TrlSettings:
    """What the trainer is built from."""

    checkpoint: str
    steps: list[list[TrlPrompt]]
    """The prompts of each step."""
    pixels: int
    """Both pixel limits of the image processor."""
    group_size: int
    completion_tokens: int
    beta: float
    rows: int
    """Completions of one forward and backward pass."""
    gradient_checkpointing: bool = False
    dtype: str = "float32"
    learning_rate: float = 1e-6
    lora_rank: int | None = None
    lora_targets: str = ""
    """A pattern over whole names of layers."""

    def config(self, folder: str) -> GRPOConfig:
        """Return the trainer's arguments: what makes both peers do the same work, and otherwise TRL's defaults."""
        completions = len(self.steps[0]) * self.group_size
        return GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=self.rows,
            gradient_accumulation_steps=completions // self.rows,
            num_generations=self.group_size,
            max_steps=len(self.steps),
            shuffle_dataset=False,
            max_completion_length=self.completion_tokens,
            generation_kwargs={"min_new_tokens": self.completion_tokens},
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            loss_type="grpo",
            scale_rewards="group",
            use_bias_correction_kl=False,
            beta=self.beta,
            learning_rate=self.learning_rate,
            lr_scheduler_type="constant",
            gradient_checkpointing=self.gradient_checkpointing,
            bf16=self.dtype == "bfloat16",
            use_cpu=not torch.cuda.is_available(),
            dataloader_pin_memory=torch.cuda.is_available(),
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )


class ImageTextProcessor(Qwen2_5_VLProcessor):
    """The family's processor without its video part."""

    def __init__(self, image_processor: Any, tokenizer: Any, chat_template: str | None = None) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    @classmethod
    def load(cls, checkpoint: str, pixels: int) -> ImageTextProcessor:
        """Load tokenizer and image processor of a checkpoint folder, with own pixel limits."""
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, padding_side="left")
        images = AutoImageProcessor.from_pretrained(checkpoint, backend="pil", min_pixels=pixels, max_pixels=pixels)
        return cls(images, tokenizer, chat_template=tokenizer.chat_template)


def given_rewards(completions: Sequence[Any], rewards: Sequence[Sequence[float]], **_: Any) -> list[float | None]:
    """Reward the completions of a prompt, which stand side by side, by their place."""
    return [row[place % len(row)] for place, row in enumerate(rewards)]


class TimedTrainer(GRPOTrainer):
    """The trainer with a clock on its parts, and with a way to be given completions instead of sampling them."""

    seconds: dict[str, float]
    given: list[list[int]] | None = None

    def _timed(self, part: str, method: Any, *arguments: Any, **keywords: Any) -> Any:
        start = now()
        result = method(*arguments, **keywords)
        self.seconds[part] = self.seconds.get(part, 0.0) + now() - start
        return result

    def _generate_and_score_completions(self, *arguments: Any, **keywords: Any) -> Any:
        return self._timed("scored rollout", super()._generate_and_score_completions, *arguments, **keywords)

    def _calculate_rewards(self, *arguments: Any, **keywords: Any) -> Any:
        return self._timed("reward", super()._calculate_rewards, *arguments, **keywords)

    def _get_per_token_logps_and_entropies(self, *arguments: Any, **keywords: Any) -> Any:
        part = "with gradients" if torch.is_grad_enabled() else "reference"
        return self._timed(part, super()._get_per_token_logps_and_entropies, *arguments, **keywords)

    def _generate_single_turn(self, *arguments: Any, **keywords: Any) -> Any:
        if self.given is not None:
            return self.given, None
        return super()._generate_single_turn(*arguments, **keywords)

    def loss_and_gradient(
        self, prompts: Sequence[TrlPrompt], completions: Sequence[Sequence[np.ndarray]], advantages: np.ndarray
    ) -> Gradient:
        """Return loss and gradient of one step on given completions, as `AdfmStep.loss_and_gradient` does."""
        rows = [
            {
                "prompt": prompt["messages"],
                "images": [Pillow.open(path) for path in prompt["images"]],
                "rewards": [0.0, 1.0],
            }
            for prompt, group in zip(prompts, completions, strict=True)
            for _ in group
        ]
        model: Any = self.model
        trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
        with moved(trained):
            self.given = [ids.tolist() for group in completions for ids in group]
            batch = self._generate_and_score_completions(rows)
            self.given = None
            batch["advantages"] = torch.tensor(advantages, dtype=torch.float32, device=self.args.device)
            self.current_gradient_accumulation_steps = 1
            loss = self.compute_loss(model, batch)
            self.accelerator.backward(loss)
            by_name = gradients(trained)
        reference = batch.get("ref_per_token_logps")
        first = np.cumsum([0, *map(len, completions)])[:-1].tolist()
        return Gradient(
            loss=float(loss.detach()),
            by_name=by_name,
            reference_logprob=None if reference is None else reference[batch["completion_mask"].bool()].cpu().numpy(),
            prompt_tokens=[batch["prompt_ids"][row][batch["prompt_mask"][row].bool()].tolist() for row in first],
        )


class Hold(TrainerCallback):
    """Holds the training loop after every step until the parent wants the next one."""

    def __init__(self, orders: Orders, trainer: TimedTrainer) -> None:
        self.orders = orders
        self.trainer = trainer
        self.start = self.loading = 0.0

    def on_train_begin(self, *arguments: Any, **_: Any) -> None:
        """Wait for the first step."""
        self._wait(arguments[2])

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Take the time that the batch took to come."""
        self.loading = now() - self.start

    def on_step_end(self, *arguments: Any, **_: Any) -> None:
        """Tell the step's seconds and wait for the next."""
        whole, parts = now() - self.start, self.trainer.seconds
        reward, reference = parts["reward"], parts.get("reference", 0.0)
        self.orders.answer(
            StepTimes(
                rollout=self.loading + parts["scored rollout"] - reward - reference,
                reward=reward,
                reference=reference,
                update=whole - self.loading - parts["scored rollout"],
                whole=whole,
            )
        )
        self._wait(arguments[2])

    def _wait(self, control: Any) -> None:
        control.should_training_stop = self.orders.next_step(self.trainer.loss_and_gradient) is None
        self.trainer.seconds = {}
        self.start = now()


def now() -> float:
    """Return the time, when work that was queued on a GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def dataset_of(steps: Sequence[Sequence[TrlPrompt]]) -> Dataset:
    """Make the dataset: images as paths, opened when a row is read."""
    prompts = [prompt for step in steps for prompt in step]
    rows = {
        "prompt": [prompt["messages"] for prompt in prompts],
        "images": [[str(path) for path in prompt["images"]] for prompt in prompts],
        "rewards": [prompt["rewards"] for prompt in prompts],
    }
    return Dataset.from_dict(rows).cast_column("images", List(Image()))


def described(trainer: TimedTrainer) -> dict[str, Any]:
    """Say the settings that decide what is computed, and how fast."""
    arguments = trainer.args.to_dict()
    model: Any = trainer.model
    return {
        **{name: arguments[name] for name in DESCRIBED},
        "attention": model.config._attn_implementation,
        "generation": trainer.generation_config.to_diff_dict(),
    }


def peer(orders: Orders) -> None:
    """Be a peer of the benchmark."""
    settings = TrlSettings(**orders.settings)
    model = AutoModelForImageTextToText.from_pretrained(settings.checkpoint, dtype=getattr(torch, settings.dtype))
    model.model.visual.requires_grad_(False)
    lora = None
    if settings.lora_rank is not None:
        rank = settings.lora_rank
        lora = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=settings.lora_targets)
    with TemporaryDirectory() as folder:
        trainer = TimedTrainer(
            model=model,
            reward_funcs=given_rewards,
            args=settings.config(folder),
            train_dataset=dataset_of(settings.steps),
            processing_class=ImageTextProcessor.load(settings.checkpoint, settings.pixels),
            peft_config=lora,
        )
        trainer.seconds = {}
        trainer.add_callback(Hold(orders, trainer))
        orders.ready(described(trainer))
        trainer.train()


if __name__ == "__main__":
    serve(peer)
