"""LightningModules (who learns), metrics, and callbacks (when to look)."""
