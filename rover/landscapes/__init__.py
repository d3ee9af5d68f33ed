"""The surfaces: training prototypes, test functions, the development suite, problems in more than two dimensions."""

from rover.landscapes.base import Landscape
from rover.landscapes.prototypes import MODALITIES, Prototypes, sample_prototypes

__all__ = ["MODALITIES", "Landscape", "Prototypes", "sample_prototypes"]
