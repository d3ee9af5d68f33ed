"""Files that are truncated, damaged, foreign or malicious: refused in one line, and nothing in them is executed."""

from __future__ import annotations

import io
import os
import pickle
import random
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rover
import train
from conf.errors import UserError
from conf.run_folder import read_checkpoint
from rover.networks import AngleNet, NetworkConfig
from rover.policy import Policy, PolicyConfig, load_angle_net, save_angle_net
from tests.faults.campaign import note, times

NETWORK = NetworkConfig(grid_size=5, channels=(2, 2), hidden_size=4)


def make_checkpoint(path: Path) -> None:
    torch.save(
        {"state_dict": {"w": torch.arange(300.0), "n": torch.tensor(3)}, "epoch": 1, "loops": {"a": [1, 2]}}, path
    )


def make_policy(path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Policy(PolicyConfig(angle=NETWORK, actor=NETWORK, memory_size=4)).save(path)


def make_angle_net(path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_angle_net(path, AngleNet(NETWORK))


def contents(loaded: Any) -> dict[str, torch.Tensor]:
    return loaded["state_dict"] if isinstance(loaded, dict) else loaded.state_dict()


KINDS: dict[str, tuple[Callable[[Path], None], Callable[[Path], Any], type[Exception]]] = {
    "checkpoint.ckpt": (make_checkpoint, read_checkpoint, UserError),
    "policy.safetensors": (make_policy, rover.load, ValueError),
    "angle.safetensors": (make_angle_net, load_angle_net, ValueError),
}


def damage(data: bytes, luck: random.Random) -> bytes:
    """Truncated, with bits flipped, a block zeroed, a piece missing or twice, or other bytes at the head."""
    a, b = sorted(luck.randrange(len(data)) for _ in range(2))
    kind = luck.randrange(6)
    if kind == 0:
        return data[:a]
    if kind == 1:
        return data[:a] + bytes([data[a] ^ (1 << luck.randrange(8))]) + data[a + 1 :]
    if kind == 2:
        return data[:a] + bytes(min(b - a, 512)) + data[a + min(b - a, 512) :]
    if kind == 3:
        return data[:a] + data[b:]
    if kind == 4:
        return data[:b] + data[a:]
    return luck.randbytes(min(b, 64)) + data[min(b, 64) :]


@pytest.mark.parametrize("name", KINDS)
def test_random_damage_is_refused_or_harmless(name: str, tmp_path: Path) -> None:
    make, load, refusal = KINDS[name]
    path = tmp_path / name
    make(path)
    whole, luck = path.read_bytes(), random.Random(name)
    expected = contents(load(path))
    tried, refused = times(60, 3000), 0
    for _ in range(tried):
        data = damage(whole, luck)
        path.write_bytes(data)
        try:
            found = contents(load(path))
        except refusal as error:
            refused += 1
            assert "\n" not in str(error) and name in str(error)
        else:  # what was hit means nothing: padding, a time stamp, a comment
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[key], value) for key, value in expected.items()), "silently wrong"
        assert path.read_bytes() == data, "a damaged file stays as it is"
    assert refused > tried / 2
    note(f"random damage to {name}", tried)


class Call:
    """Unpickled, it calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple:
        return self.function, self.arguments


def payloads(mark: str) -> dict[str, Any]:
    touch = f"open({mark!r}, 'w').close()"
    return {
        "os.system": Call(os.system, f"touch {mark}"),
        "os.mkdir": Call(os.mkdir, mark),
        "eval": Call(eval, touch),
        "exec": Call(exec, touch),
        "subprocess": Call(subprocess.call, ["touch", mark]),
        "open": Call(open, mark, "w"),
        "import": Call(__import__, "antigravity"),
        "getattr": Call(getattr, Call(__import__, "os"), "system"),
        "numpy": Call(np.load, mark),
        "torch.load": Call(torch.load, mark),
    }


def disguises(payload: Any) -> dict[str, bytes]:
    """The payload in every wrapping that a loader may look into."""
    found = {}
    content = {"state_dict": {"w": torch.ones(2), "x": payload}, "epoch": 1}
    for name, options in {"zip": {}, "legacy": {"_use_new_zipfile_serialization": False}}.items():
        buffer = io.BytesIO()
        torch.save(content, buffer, **options)
        found[name] = buffer.getvalue()
    for protocol in (0, 2, 4):
        found[f"pickle {protocol}"] = pickle.dumps({"state_dict": payload}, protocol=protocol)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(payload, protocol=2))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    found["hand-made zip"] = buffer.getvalue()
    return found


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("attack", list(payloads("")))
def test_no_payload_is_executed(name: str, attack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _, load, refusal = KINDS[name]
    mark = str(tmp_path / "executed")
    wrapped = disguises(payloads(mark)[attack])
    for data in wrapped.values():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(refusal, match=name):
            load(path)
        assert not Path(mark).exists(), "executed"
    note(f"malicious pickle ({attack}) as {name}", len(wrapped))


@pytest.mark.parametrize("name", KINDS)
def test_foreign_files_are_named(name: str, tmp_path: Path) -> None:
    _, load, refusal = KINDS[name]
    path = tmp_path / name
    png, np_file, other = b"\x89PNG\r\n\x1a\n" + bytes(50), io.BytesIO(), io.BytesIO()
    np.save(np_file, np.ones(4))
    torch.save([1, 2, 3], other)
    foreign = [
        b"",
        b"\0",
        b"{}",
        b"task: angle\n",
        png,
        np_file.getvalue(),
        other.getvalue(),
        b"\x80" * 8,
        b"\xff" * 100,
    ]
    for data in foreign:
        path.write_bytes(data)
        with pytest.raises(refusal, match=name):
            load(path)
    note(f"foreign file as {name}", len(foreign))


def test_the_command_line_refuses_them_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "executed"
    for k, data in enumerate(disguises(Call(os.mkdir, str(mark))).values()):
        Path(f"evil_{k}.ckpt").write_bytes(data)
        Path(f"evil_{k}.safetensors").write_bytes(data)
        for words in (
            ["--config", "angle.yaml", f"resume=evil_{k}.ckpt"],
            ["--config", "ddpg.yaml", f"model.angle_net=evil_{k}.safetensors"],
        ):
            assert train.main(words) == 2
            err = capfd.readouterr().err
            assert err.startswith("error: ") and len(err.splitlines()) == 1 and "evil" in err
            assert not mark.exists()
