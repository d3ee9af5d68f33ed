"""The deterministic policy gradient and the temporal difference against hand-made ones in float64."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lit_modules.ddpg import DDPGModelConfig, DDPGModule, soft_update
from rover.landscapes.prototypes import sample_prototypes
from rover.learning.losses import td_loss
from rover.learning.replay import Episodes
from rover.learning.rollout import rollout
from rover.navigation.environment import Navigation, NavigationConfig
from rover.networks import AngleNet, NetworkConfig, Seen, see

VARIANTS: dict[str, dict[str, Any]] = {
    "best": {},
    "one critic, recurrent, as the actor sees": {"twin": False, "recurrent_critic": True, "privileged_critic": False},
    "recurrent twins": {"recurrent_critic": True},
    "squared": {"td": "squared"},
    "no smoothing": {"smoothing": 0.0},
    "linear": {"action": "linear"},
    "no context": {"context": False},
}
every_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())


def module_of(variant: dict[str, Any]) -> DDPGModule:
    options = dict(variant)
    network = {name: options.pop(name) for name in ("action", "context") if name in options}
    torch.manual_seed(0)
    small = NetworkConfig(grid_size=5, channels=(2, 4), hidden_size=8, **network)
    config = DDPGModelConfig(network=small, navigation=NavigationConfig(horizon=5), memory_size=6, **options)
    module = DDPGModule(config, AngleNet(small), seed=0)
    for net in (module.actor, module.critics, module.target_actor, module.target_critics):
        net.double()
        for parameter in net.parameters():  # away from the tiny initial output, where gradients are tiny too
            parameter.data += 0.1 * torch.randn_like(parameter)
    module.generator = torch.Generator().manual_seed(0)
    return module


def episodes_of(module: DDPGModule, batch: int = 6) -> Episodes:
    generator = torch.Generator().manual_seed(1)
    config = module.config
    surfaces = sample_prototypes(batch, generator)
    env = Navigation(surfaces, config.navigation, 5, module.angle_net.direction, generator)
    actor = copy.deepcopy(module.actor).float()
    return Episodes(*(part.double() for part in rollout(env, actor, 0.5)))


def captured(module: DDPGModule, update: str, sample: Episodes) -> tuple[Tensor, nn.Module]:
    """The loss that an update descends, and the network that it descends on."""
    kept: list[Any] = []

    def note(loss: Tensor, network: nn.Module, optimizer: Any) -> Tensor:
        kept.extend([loss, network])
        return torch.zeros(())

    object.__setattr__(module, "_descend", note)
    getattr(module, update)(sample, None)
    return kept[0], kept[1]


def observed(module: DDPGModule, sample: Episodes, when: slice) -> Seen:
    parts = (part[:, when] for part in (sample.grid, sample.direction, sample.context))
    return see(*parts, module.config.network)


@every_variant
def test_the_actors_gradient_is_grad_a_q_times_grad_mu(variant: dict[str, Any]) -> None:
    module = module_of(variant)
    sample = episodes_of(module)
    loss, network = captured(module, "_update_actor", sample)
    assert network is module.actor
    gradients = torch.autograd.grad(loss, list(module.actor.parameters()))

    seen = observed(module, sample, slice(None, -1))
    state = sample.state[:, :-1, : module.num_state]

    def q(action: Tensor) -> Tensor:
        with torch.no_grad():
            return module.critics[0](seen, state, action)

    def mu() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            logits, _ = module.actor(seen)
            return module.actor.squash(logits), logits

    action, _ = mu()
    eps = 1e-7
    q_slope = torch.stack(  # a critic's value at t depends on the action at t alone
        [(q(action + eps * unit) - q(action - eps * unit)) / (2 * eps) for unit in torch.eye(2).double()], -1
    )
    generator = torch.Generator().manual_seed(2)
    way = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in module.actor.parameters()]

    def shifted(by: float) -> tuple[Tensor, Tensor]:
        for parameter, step in zip(module.actor.parameters(), way, strict=True):
            parameter.data += by * step
        found = mu()
        for parameter, step in zip(module.actor.parameters(), way, strict=True):
            parameter.data -= by * step
        return found

    (a, u), (b, v) = shifted(eps), shifted(-eps)
    by_hand = -(q_slope * (a - b) / (2 * eps)).sum(-1).mean()
    by_hand = by_hand + module.config.actor_penalty * (u.square().mean() - v.square().mean()) / (2 * eps)
    ours = sum((g * w).sum() for g, w in zip(gradients, way, strict=True))
    torch.testing.assert_close(ours, by_hand, rtol=1e-5, atol=1e-8)
    assert abs(float(by_hand)) > 1e-6


@every_variant
def test_the_critics_gradient_takes_the_target_as_given(variant: dict[str, Any]) -> None:
    module = module_of(variant)
    config, sample = module.config, episodes_of(module)
    assert module.generator is not None
    before = module.generator.get_state()
    loss, network = captured(module, "_update_critic", sample)
    assert network is module.critics
    module.generator.set_state(before)

    with torch.no_grad():  # r + gamma min Q'(o', mu'(o')), by hand; the last step is terminal
        whole = observed(module, sample, slice(None))
        logits, _ = module.target_actor(whole)
        noise = None
        if config.smoothing:
            noise = torch.randn(logits.shape, generator=module.generator, dtype=logits.dtype)
            noise = (config.smoothing * noise).clamp(-0.3, 0.3)
        action = module.target_actor.squash(logits, noise)
        values = [critic(whole, sample.state[..., : module.num_state], action) for critic in module.target_critics]
        follows = torch.stack(values).amin(0)[:, 1:]
        target = sample.reward.clone()
        for t in range(sample.reward.shape[1] - 1):
            target[:, t] += config.gamma * follows[:, t]
    now = observed(module, sample, slice(None, -1))
    predictions = [critic(now, sample.state[:, :-1, : module.num_state], sample.action) for critic in module.critics]
    by_hand = torch.stack([td_loss(q, target, config.td) for q in predictions]).sum()
    torch.testing.assert_close(loss, by_hand)
    parameters = list(module.critics.parameters())
    for ours, other in zip(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(by_hand, parameters), strict=True
    ):
        torch.testing.assert_close(ours, other)


def test_targets_and_direction_net_receive_no_gradient() -> None:
    module = module_of({})
    frozen = [module.target_actor, module.target_critics, module.angle_net]
    assert not any(parameter.requires_grad for net in frozen for parameter in net.parameters())
    sample = episodes_of(module)
    for update, own in (("_update_critic", module.critics), ("_update_actor", module.actor)):
        loss, _ = captured(module, update, sample)
        reached = set(_leaves(loss))
        assert {id(parameter) for parameter in own.parameters()} <= reached
        assert not {id(parameter) for net in frozen for parameter in net.parameters()} & reached


def _leaves(loss: Tensor) -> list[int]:
    """Identities of the tensors into which a backward pass would accumulate."""
    found, waiting, seen = [], [loss.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(id(node.variable))
        waiting += [other for other, _ in node.next_functions]
    return found


def test_soft_update_by_hand() -> None:
    source, target = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    source.weight.data.copy_(torch.tensor([2.0, 4.0]))
    source.running_mean.copy_(torch.tensor([10.0, -10.0]))  # type: ignore[union-attr]
    source.num_batches_tracked.fill_(7)  # type: ignore[union-attr]
    soft_update(target, source, 0.1)
    assert target.weight.tolist() == pytest.approx([1.1, 1.3])
    assert target.running_mean.tolist() == pytest.approx([1.0, -1.0])  # type: ignore[union-attr]
    assert target.num_batches_tracked.item() == 7  # type: ignore[union-attr]
    soft_update(target, source, 1.0)
    assert target.weight.tolist() == [2.0, 4.0]
