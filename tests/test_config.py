"""Defaults < YAML < command line, and what is said when a key or a value is wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conf import EXPERIMENTS, TRAININGS, ConfigError, Loaded, load_config
from conf.errors import one_line
from conf.loader import CONFIG_FOLDER, parse_override
from conf.schema import Experiment, Training
from tests import toy_training

TASKS = {
    "toy": Training(
        "tests.toy_training:ToyDataConfig",
        "tests.toy_training:ToyModelConfig",
        "tests.toy_training:ToyData",
        "tests.toy_training:ToyModule",
    )
}


@pytest.fixture(scope="module")
def yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("conf") / "toy.yaml"
    path.write_text(toy_training.YAML)
    return path


def load(yaml: Path, *overrides: str) -> Loaded:
    return load_config(str(yaml), overrides, TASKS)


def load_text(tmp_path: Path, text: str) -> Loaded:
    (tmp_path / "x.yaml").write_text(text)
    return load_config(str(tmp_path / "x.yaml"), [], TASKS)


def complaint(yaml: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(yaml, *overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_yaml_overrides_defaults_and_the_command_line_overrides_both(yaml: Path) -> None:
    config = load(yaml, "data.batch_size=16", "data.sizes=[3]").config
    assert (config.seed, config.model.width) == (3, 1)  # YAML, default
    assert (config.data.batch_size, config.data.batches, config.data.sizes) == (16, 6, [3])  # lists are replaced
    assert isinstance(config.data, toy_training.ToyDataConfig)
    assert config.log_dir == "runs/toy"


def test_the_last_override_wins(yaml: Path) -> None:
    assert load(yaml, "seed=1", "seed=2").config.seed == 2


@pytest.mark.parametrize(
    ("override", "value"),
    [("data.noise=1e-3", 1e-3), ("data.noise=1", 1.0), ("data.cache=null", None), ("data.cache=a b", "a b")],
)
def test_values_are_read_as_yaml(yaml: Path, override: str, value: object) -> None:
    key = override.split("=")[0].split(".")[1]
    read = getattr(load(yaml, override).config.data, key)
    assert read == value and type(read) is type(value)


def test_any_flag_of_the_trainer_passes_through(yaml: Path) -> None:
    config = load(yaml, "trainer.strategy=ddp", "trainer.limit_train_batches=0.5").config
    assert config.trainer["strategy"] == "ddp"
    assert config.trainer["limit_train_batches"] == 0.5
    assert config.trainer["max_epochs"] == 3


def test_the_resolved_yaml_is_complete_and_gives_the_same_config_again(yaml: Path, tmp_path: Path) -> None:
    first = load(yaml, "data.batch_size=16", "data.window=[0.1,0.2]", "resume=last")
    assert "noise: 0.1" in first.resolved
    again = load_text(tmp_path, first.resolved)
    assert again.resolved == first.resolved
    assert again.config.data == first.config.data


@pytest.mark.parametrize(
    ("override", "key", "nearest"),
    [
        ("data.batch_siz=3", "data.batch_siz", "data.batch_size"),
        ("batch_size=3", "batch_size", "data.batch_size"),
        ("dat.batch_size=3", "dat", "data"),
        ("sed=3", "sed", "seed"),
        ("trainer.devcies=2", "trainer.devcies", "trainer.devices"),
        ("trainer.callbacks=2", "trainer.callbacks", "trainer."),
        ("checkpoint.moniter=x", "checkpoint.moniter", "checkpoint.monitor"),
        ("model.zzz=3", "model.zzz", "model."),
    ],
)
def test_a_misspelt_key_is_named_with_the_nearest_valid_one(yaml: Path, override: str, key: str, nearest: str) -> None:
    message = complaint(yaml, override)
    assert f"`{key}`" in message
    assert f"did you mean `{nearest}" in message


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("data.batch_size=many", "data.batch_size"),
        ("data.batch_size=3.5", "data.batch_size"),
        ("data.batch_size=true", "data.batch_size"),
        ("data.batch_size=null", "data.batch_size"),
        ("data.batch_size.x=1", "data.batch_size"),
        ("data.mode=strem", "data.mode"),
        ("data.shuffle=3", "data.shuffle"),
        ("data.window=[1,2,3]", "data.window"),
        ("data.sizes=[1,a]", "data.sizes[1]"),
        ("data.sizes={a: 1}", "data.sizes.a"),
        ("data=3", "data"),
        ("trainer=3", "trainer"),
    ],
)
def test_a_wrong_type_names_the_key(yaml: Path, override: str, key: str) -> None:
    assert f"`{key}`" in complaint(yaml, override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.batch_size=0", "`data.batch_size` must be at least 1, got 0"),
        ("data.window=[2,1]", "`data.window` must increase, got (2.0, 1.0)"),
        ("seed=-1", "`seed` must be in"),
        ("checkpoint.every_n_batches=0", "`checkpoint.every_n_batches` must be at least 1"),
    ],
)
def test_a_value_out_of_range_names_the_whole_key(yaml: Path, override: str, message: str) -> None:
    assert message in complaint(yaml, override)


@pytest.mark.parametrize("word", ["trainer.devices", "seed=", "a..b=1", "=1", "--seed=1", "seed[0]=1"])
def test_words_that_are_no_override_are_refused(yaml: Path, word: str) -> None:
    complaint(yaml, word)


@pytest.mark.parametrize(
    "value", ["${oc.env:HOME}", "'${oc.env:HOME}'", "${oc.env:HOME,x}", "x${seed}", "[1, '${seed}']"]
)
@pytest.mark.parametrize("key", ["data.cache", "trainer.default_root_dir", "log_dir"])
def test_interpolation_is_refused_on_the_command_line(yaml: Path, key: str, value: str) -> None:
    assert "interpolation" in complaint(yaml, f"{key}={value}")


@pytest.mark.parametrize(
    "line",
    ["log_dir: ${oc.env:HOME}", "data: {cache: 'a/${seed}'}", "trainer: {plugins: ['${oc.decode:1}']}", "'${seed}': 1"],
)
def test_interpolation_is_refused_in_yaml(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match="interpolation"):
        load_text(tmp_path, f"task: toy\n{line}\n")


@pytest.mark.parametrize("value", ["!!python/object/apply:os.mkdir [MARK]", "!!python/name:os.system"])
def test_yaml_tags_execute_nothing(yaml: Path, tmp_path: Path, value: str) -> None:
    mark = tmp_path / "made"
    payload = value.replace("MARK", str(mark))
    complaint(yaml, f"data.cache={payload}")
    with pytest.raises(ConfigError):
        load_text(tmp_path, f"task: toy\nlog_dir: {payload}\n")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 1\n", "`task` is missing; it is one of toy"),
        ("task: toi\n", "did you mean `toy`"),
        ("task: [1]\n", "not known here"),
        ("- 1\n", "must hold"),
        ("task: toy\n  x: [\n", "not valid YAML"),
        ("task: toy\nseed: 1\nseed: 2\n", "duplicate key"),
        ("task: toy\ndata: {batch_siz: 3}\n", "x.yaml: unknown key `data.batch_siz`, did you mean `data.batch_size`?"),
        ("task: toy\ndata: {batch_size: many}\n", "x.yaml: `data.batch_size`"),
        ("task: toy\n3: 4\n", "unknown key `3`"),
    ],
)
def test_what_is_wrong_in_a_yaml_is_said_on_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        load_text(tmp_path, text)
    assert "\n" not in str(caught.value)


@dataclass
class NeedsWeights:
    weights: str


def test_a_key_without_default_must_be_given(tmp_path: Path) -> None:
    tasks = {"needy": Experiment("tests.test_config:NeedsWeights", "unused")}
    (tmp_path / "x.yaml").write_text("task: needy\n")
    with pytest.raises(ConfigError, match="`weights` has no value"):
        load_config(str(tmp_path / "x.yaml"), [], tasks)
    assert load_config(str(tmp_path / "x.yaml"), ["weights=a"], tasks).config.weights == "a"


def test_a_yaml_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match="x.yaml"):
        load_config(str(tmp_path / "x.yaml"), [], TASKS)


@pytest.mark.parametrize("name", ["no/such.yaml", ".", "conf"])
def test_a_config_that_does_not_exist_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match="does not exist") as caught:
        load_config(name, [], TASKS)
    assert repr(name) in str(caught.value)


@given(st.text(max_size=40))
def test_any_word_is_parsed_or_refused_with_one_line(word: str) -> None:
    try:
        parsed = parse_override(word)
    except ConfigError as error:
        assert len(one_line(error)) > 0
    else:
        assert "=" in word and len(parsed) == 1


@given(
    key=st.sampled_from(
        ["seed", "data.batch_size", "data.noise", "data.mode", "data.sizes", "trainer.devices", "data"]
    ),
    value=st.one_of(
        st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=12), st.lists(st.integers(), max_size=3)
    ),
)
def test_any_value_is_accepted_with_the_right_type_or_refused(yaml: Path, key: str, value: object) -> None:
    try:
        config = load(yaml, f"{key}={value}").config
    except ConfigError:
        return
    assert type(config.seed) is int and 0 <= config.seed < 2**32
    assert type(config.data.batch_size) is int and config.data.batch_size >= 1
    assert type(config.data.noise) is float
    assert config.data.mode in ("stream", "cached")


@pytest.mark.parametrize("path", sorted(CONFIG_FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_yaml_is_valid_and_complete(path: Path) -> None:
    loaded = load_config(str(path), [], {**TRAININGS, **EXPERIMENTS})
    text = path.read_text()
    assert text.lstrip().startswith("#"), "a YAML begins with a comment that says what it is"
    state = torch.random.get_rng_state()
    assert load_config(path.name, [], {**TRAININGS, **EXPERIMENTS}).resolved == loaded.resolved
    assert torch.equal(state, torch.random.get_rng_state())
