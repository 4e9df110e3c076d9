"""Learning from labels: dense pre-training of the vision tower, and fine-tuning on reference completions."""
