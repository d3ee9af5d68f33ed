"""How a rover sees and moves: the grid (eq 1), the frame, the moves (eq 4), the rewards (eqs 5-7)."""

from rover.navigation.frame import update_frame
from rover.navigation.grid import grid_offsets, grid_points, rescale
from rover.navigation.moves import Decision, RoverState, initial_state, rates, transition
from rover.navigation.quadratic_fit import fit_direction, fit_quadratic
from rover.navigation.rewards import REWARDS, start_reward, value_reward, window_reward

__all__ = [
    "REWARDS",
    "Decision",
    "RoverState",
    "fit_direction",
    "fit_quadratic",
    "grid_offsets",
    "grid_points",
    "initial_state",
    "rates",
    "rescale",
    "start_reward",
    "transition",
    "update_frame",
    "value_reward",
    "window_reward",
]
