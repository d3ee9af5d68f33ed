"""How a rover sees and moves: the grid (eq 1), the frame, the moves (eq 4), the rewards (eqs 5-7)."""

from rover.navigation.frame import update_frame
from rover.navigation.grid import Sight, grid_offsets, grid_points, look, rescale
from rover.navigation.moves import NUM_CONTEXT, Decision, RoverState, context_of, initial_state, rates, transition
from rover.navigation.quadratic_fit import fit_direction, fit_quadratic
from rover.navigation.rewards import REWARDS, start_reward, value_reward, window_reward

__all__ = [
    "NUM_CONTEXT",
    "REWARDS",
    "Decision",
    "RoverState",
    "Sight",
    "context_of",
    "fit_direction",
    "fit_quadratic",
    "grid_offsets",
    "grid_points",
    "initial_state",
    "look",
    "rates",
    "rescale",
    "start_reward",
    "transition",
    "update_frame",
    "value_reward",
    "window_reward",
]
