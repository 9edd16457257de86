"""Run directories: flags, metrics and checkpoints of one training."""
