"""The navigator by itself (sections 3.2.3 and 4.1, appendix 6.2): its scores, its rivals on a schedule, Figures 8 to 10.

Held-out prototypes, T rounds, initial step sizes and resolutions over orders of magnitude. The return is eq 7's with
noise; ``log10 (f_T - f*) / (f_0 - f*)`` is taken without. The rivals have the same direction net and the same frame;
what is theirs is a schedule: every constant pair of rates of a 7 x 7 grid, and exponential decays whose start and rates
are chosen in hindsight, on the very surfaces they are judged on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rover.evaluation.cache import digest, source_digest
from rover.evaluation.figures import save
from rover.evaluation.figures_navigation import navigation_figures, rates_figure
from rover.evaluation.held_out import HeldOutScores, held_out_scores, summarise
from rover.evaluation.protocol import track
from rover.evaluation.report import Plot, Report, Table, markdown_table, provenance, write_report
from rover.evaluation.rover_runner import weights_digest
from rover.evaluation.schedules import RATES, Decay, constant_schedules, exponential_decays, schedule_scores
from rover.evaluation.scores import Estimate, bootstrap
from rover.landscapes.prototypes import MODALITIES, Prototypes, sample_prototypes
from rover.policy import Policy, available, load

_SOURCES = ("navigation", "landscapes", "networks.py", "policy.py", "evaluation/held_out.py", "evaluation/schedules.py")
_FINALISTS = 10  # decays that are judged on all surfaces; the others on a quarter

CAPTIONS = {
    "schedules": "Figure 8: step size, half-width of the grid and gap along the episode, for held-out surfaces of each "
    "modality, starts over orders of magnitude. Thin: single runs, black: median.",
    "recovery": "Figure 9: the same surfaces from a usual start, from a step size 100 times smaller, from a resolution "
    "100 times larger, and from both (medians). A schedule would draw parallel lines.",
    "paths": "Figure 10: the run of each modality that ends with the median gap; contours of the logarithm of the gap, "
    "the path, and the grids sampled on it.",
}
_FILES = {"schedules": "figure8.png", "recovery": "figure9.png", "paths": "figure10.png"}


@dataclass
class NavigatorConfig:
    """Settings.

    Attributes:
        seed: of surfaces, starts and noise; no training has seen them.
        output_dir: where summary and figures go.
        cache_dir: finished rivals are kept here by a hash of weights, settings and code; null keeps none.
        policies: shipped names or paths; names that do not ship yet are left out with a note.
        rivals_of: the policy against which the schedules are run.
        instances: held-out surfaces, a quarter of each modality.
        horizon: T.
        decay_alphas: initial step sizes of the exponential decays.
        decay_half_widths: their initial half-widths of the grid.
        decay_rates: their rates, for step size and resolution alike, in [-0.5, 1].
        smoke: a small version in seconds, written to ``<output_dir>/smoke``.
    """

    seed: int = 20240
    output_dir: str = "results/navigator"
    cache_dir: str | None = "results/cache/navigator"
    policies: list[str] = field(default_factory=lambda: ["default", "grid9", "grid5", "paper"])
    rivals_of: str = "default"
    instances: int = 400
    horizon: int = 30
    decay_alphas: list[float] = field(default_factory=lambda: [0.3, 1.0, 3.0])
    decay_half_widths: list[float] = field(default_factory=lambda: [1.0, 3.0, 10.0])
    decay_rates: list[float] = field(default_factory=lambda: [-0.4, -0.3, -0.2, -0.1])
    smoke: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("instances", "horizon"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"`seed` must not be negative, got {self.seed}")
        if not self.decay_rates or not all(-0.5 <= rate <= 1 for rate in self.decay_rates):
            raise ValueError(f"`decay_rates` must lie in [-0.5, 1], got {self.decay_rates}")
        for name in ("decay_alphas", "decay_half_widths"):
            if not getattr(self, name) or min(getattr(self, name)) <= 0:
                raise ValueError(f"`{name}` must be positive, got {getattr(self, name)}")
        if self.smoke:
            self.instances, self.horizon, self.decay_rates = 16, 5, self.decay_rates[:1]
            if not self.output_dir.endswith("/smoke"):
                self.output_dir = f"{self.output_dir}/smoke"


def run(config: NavigatorConfig) -> dict[str, Any]:
    """Score the policies and their rivals, draw, and write it all into ``output_dir``.

    Returns:
        name -> figures of :func:`rover.evaluation.held_out.summarise`, for policies and the best rivals.

    Raises:
        ValueError: if none of the policies is there.
    """
    policies = {name: load(name) for name in config.policies if name in available() or Path(name).is_file()}
    missing = [name for name in config.policies if name not in policies]
    if not policies:
        raise ValueError(f"`policies`: none of {config.policies} is a file or one of the shipped {available()}")
    chief = config.rivals_of if config.rivals_of in policies else next(iter(policies))
    surfaces = sample_prototypes(config.instances, torch.Generator().manual_seed(config.seed))
    scores = {name: _scores_of(policy, surfaces, config) for name, policy in policies.items()}
    constants = _rivals(config, policies[chief], chief, "constant", constant_schedules(), surfaces)
    decays = _decays(config, policies[chief], chief, surfaces)

    folder = Path(config.output_dir)
    plots = []
    shown: dict[str, Any] = {"instances": min(24, -(-config.instances // 4)), "seed": config.seed + 1}
    for name, figure in navigation_figures(policies[chief], horizon=config.horizon, **shown).items():
        save(figure, folder / _FILES[name])
        plots.append(Plot(_FILES[name], CAPTIONS[name]))
    returns = np.array([found["return"] for _, found in constants]).reshape(len(RATES), len(RATES))
    own = summarise(scores[chief])["return"]
    save(rates_figure(returns, RATES, own, chief), folder / "constant_rates.png")
    plots.append(Plot("constant_rates.png", f"Return of every constant pair of rates; {chief} earns {own:.1f}."))

    tables = _tables(config, scores, chief, constants, decays)
    notes = [f"Not there and left out: {', '.join(missing)}."] if missing else []
    report = Report(
        name=folder.name,
        title="The navigator",
        command="python evaluate.py --config navigator.yaml" + (" smoke=true" if config.smoke else ""),
        paragraphs=[
            f"{config.instances} held-out prototypes, a quarter of each modality, T = {config.horizon}; initial step "
            "sizes and windows over orders of magnitude as in training. Return: eq 7, noise on; standing still earns "
            f"about {-config.horizon}. Gap ratio: log10 (f_T - f*) / (f_0 - f*), noise-free.",
            f"Schedules have {chief}'s direction net and frame and its starts; exponential decays replace the initial "
            "step size and window by their own. The best of each kind is chosen in hindsight, on these surfaces.",
            *notes,
        ],
        tables=tables,
        plots=plots,
        provenance=provenance(
            seed=config.seed, weights={name: weights_digest(policy) for name, policy in policies.items()}
        ),
        numbers={"constant": [[asdict(d), s] for d, s in constants], "decay": [[asdict(d), s] for d, s in decays]},
    )
    write_report(report, folder)
    for table in tables:
        print(f"{table.title}\n{markdown_table(table)}\n")
    best = {"constant": _best(constants)[1], "decay": _best(decays)[1]}
    return {name: summarise(found) for name, found in scores.items()} | best


Scored = list[tuple[Decay, dict[str, float]]]


def _scores_of(policy: Policy, surfaces: Prototypes, config: NavigatorConfig) -> HeldOutScores:
    return held_out_scores(policy, surfaces, horizon=config.horizon, seed=config.seed)


def _rivals(
    config: NavigatorConfig, policy: Policy, name: str, kind: str, schedules: Sequence[Decay], surfaces: Prototypes
) -> Scored:
    """Scores of schedules, each from the cache where it is there."""
    made_by = [weights_digest(policy), source_digest(*_SOURCES), config.seed, surfaces.batch_size, config.horizon]

    def score(one: Decay) -> dict[str, float]:
        path = None if config.cache_dir is None else Path(config.cache_dir) / f"{digest([made_by, asdict(one)])}.json"

        def compute() -> dict[str, float]:
            return summarise(schedule_scores(policy, one, surfaces, horizon=config.horizon, seed=config.seed))

        return _kept(path, compute)

    return [(one, score(one)) for one in track(schedules, f"{kind} schedules, {name}'s net", len(schedules))]


def _decays(config: NavigatorConfig, policy: Policy, name: str, surfaces: Prototypes) -> Scored:
    """The best exponential decays: all on every fourth surface, the finalists of each figure on all of them."""
    grid = exponential_decays(config.decay_alphas, config.decay_half_widths, config.decay_rates)
    some = surfaces.select(slice(None, None, 4))
    rough = _rivals(config, policy, name, "decay", grid, some)
    chosen: list[Decay] = []
    for figure in ("return", *(f"log_gap/{kind}" for kind in MODALITIES)):
        sign = -1 if figure == "return" else 1
        ranked = sorted(rough, key=lambda pair: sign * pair[1].get(figure, np.inf))  # noqa: B023
        chosen += [one for one, _ in ranked[: _FINALISTS if figure == "return" else 2] if one not in chosen]
    return _rivals(config, policy, name, "decay", chosen, surfaces)


def _best(scored: Scored, figure: str = "return") -> tuple[Decay, dict[str, float]]:
    return (max if figure == "return" else min)(scored, key=lambda pair: pair[1][figure])


def _tables(
    config: NavigatorConfig, scores: dict[str, HeldOutScores], chief: str, constants: Scored, decays: Scored
) -> list[Table]:
    kinds = [kind for kind in MODALITIES if f"return/{kind}" in summarise(scores[chief])]
    rows = []
    for name, found in scores.items():
        ratios = summarise(found)
        cells = [f"{ratios[f'log_gap/{kind}']:.1f} / {ratios[f'log_gap_p90/{kind}']:.1f}" for kind in kinds]
        rows.append([name, _return(found, config.seed), *cells])
    for title, one in (("best constant rates", _best(constants)), ("best exponential decay", _best(decays))):
        cells = [f"{one[1][f'log_gap/{kind}']:.1f} / {one[1][f'log_gap_p90/{kind}']:.1f}" for kind in kinds]
        rows.append([f"{title}: {_described(one[0])}", one[1]["return"], *cells])
    columns = ["", "return (7)", *(f"{kind}: median / p90" for kind in kinds)]
    first = Table("Held-out return and log10 gap ratio", columns, rows, "Higher returns and lower ratios are better.")

    mine = summarise(scores[chief])
    rows = []
    for figure in ("return", *(f"log_gap/{kind}" for kind in kinds)):
        constant, decay = _best(constants, figure), _best(decays, figure)
        label = "return (7)" if figure == "return" else f"{figure.split('/')[1]}: median log10 gap ratio"
        rows.append(
            [
                label,
                round(mine[figure], 2),
                f"{constant[1][figure]:.2f} ({_described(constant[0])})",
                f"{decay[1][figure]:.2f} ({_described(decay[0])})",
            ]
        )
    columns = ["figure", chief, "best constant rates for it", "best exponential decay for it"]
    note = "Every figure has a best rival of its own here, chosen for it in hindsight."
    return [first, Table("Against schedules chosen for each figure", columns, rows, note)]


def _return(found: HeldOutScores, seed: int) -> Estimate:
    return bootstrap(found.total.numpy(), np.mean, seed=seed)


def _described(one: Decay) -> str:
    start = "" if one.alpha is None else f", from {one.alpha:g} and {one.half_width:g}"
    return f"{one.alpha_rate:+g}, {one.delta_rate:+g}{start}"


def _kept(path: Path | None, compute: Callable[[], dict[str, float]]) -> dict[str, float]:
    """What the file holds; computed and written where it is not there or damaged."""
    if path is not None and path.is_file():
        try:
            return json.loads(path.read_text())
        except ValueError:
            pass
    found = compute()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(found))
        partial.replace(path)
    return found
