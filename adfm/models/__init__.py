"""Vision-language models: load, freeze, LoRA, features once per image."""
