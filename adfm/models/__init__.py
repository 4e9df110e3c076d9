"""Vision-language models: load, freeze, LoRA, features once per image."""

from transformers.utils import logging

logging.disable_progress_bar()  # bars of milliseconds, between the ones of a run
