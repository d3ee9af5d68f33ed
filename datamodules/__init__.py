"""LightningDataModules: what is sampled."""
