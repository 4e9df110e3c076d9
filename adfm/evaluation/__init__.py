"""Checkpoint to predictions to tables."""
