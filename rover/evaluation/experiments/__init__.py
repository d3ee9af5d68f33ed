"""The experiments of the paper and beyond, one a file: a dataclass of settings and ``run(config)``."""
