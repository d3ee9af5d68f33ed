"""When to look: checkpoints, figures, tables."""
