"""Group relative policy optimisation: prompts become groups, groups become updates."""
