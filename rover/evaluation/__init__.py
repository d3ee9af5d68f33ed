"""How a rover is judged: baselines, protocols, scores and figures. Nothing in ``rover.minimize`` needs this package."""
