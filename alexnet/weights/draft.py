"""A network as it was understood from a file of weights, with the list of what the file does not say.

Everything that is not in the file is a topic with a name, a value and an option that says otherwise: so it can be
printed, stored, set by the user (`settle`) and tried out (`alternatives`).
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from alexnet.errors import UsageError
from alexnet.recipes.config import AlexNetConfig, CifarNetConfig, LeNetConfig, ModelConfig
from alexnet.recipes.recipe import Recipe, override
from alexnet.weights.settings import Assumption, Settings, Triple
from alexnet.weights.stored import StoredLayer, StoredNetwork

RGB, BGR = "red, green, blue", "blue, green, red: the channels of conv1 were turned round"

# Fields that do not change an answer of the trained network, or only how it goes on training.
FREE = {"dropout", "dropout_place", "dropout_layers", "dropout_scale_at_test", "init", "init_scale", "bias", "fc_sigma"}
FREE |= {"input_norm", "test_size"}


@dataclass(frozen=True)
class Draft:
    """A network that can be built; `unknown` are the topics that were assumed, `given` those that the user set."""

    stored: StoredNetwork
    recipe: Recipe
    layers: tuple[StoredLayer, ...]  # convolutions, then fully connected layers
    mean: Any  # of pixels 0..255: red, green, blue, or an image (3, H, W)
    scale: Triple  # what the rest is multiplied by
    bgr: bool
    unknown: frozenset[str]
    given: frozenset[str] = frozenset()

    @property
    def config(self) -> ModelConfig:
        return self.recipe.model

    def assumptions(self) -> tuple[Assumption, ...]:
        """Lists what was assumed, in the order of `TOPICS`."""
        return tuple(
            Assumption(topic, TOPICS[topic].words(self), TOPICS[topic].option)
            for topic in TOPICS
            if topic in self.unknown and TOPICS[topic].applies(self)
        )

    def settings(self) -> dict[str, str]:
        """Lists what the user set, as topic and value."""
        return {topic: TOPICS[topic].words(self) for topic in TOPICS if topic in self.given}


@dataclass(frozen=True)
class Topic:
    """Something that files of weights may leave open."""

    option: str
    words: Callable[[Draft], str]
    fields: tuple[str, ...] = ()  # of the configuration
    applies: Callable[[Draft], bool] = lambda draft: True


def _has_lrn(draft: Draft) -> bool:
    return isinstance(draft.config, AlexNetConfig) and draft.config.norm == "lrn"


def _normalization(draft: Draft) -> str:
    config = draft.config
    if isinstance(config, LeNetConfig) or config.norm == "none":
        return "none"
    if isinstance(config, AlexNetConfig) and config.norm == "batch":
        return "batch normalization, directly after the layers"
    kind = "LRN" if config.norm in ("lrn", "across-maps") else "within maps"
    return f"{kind}, {config.norm1} in layer 1, {config.norm2} in layer 2"


def _constants(draft: Draft) -> str:
    config = draft.config
    if isinstance(config, CifarNetConfig):
        return f"size {config.norm_size}, alpha {config.norm_alpha:g}, beta {config.norm_beta:g}"
    assert isinstance(config, AlexNetConfig)
    return f"size {config.lrn_size}, alpha {config.lrn_alpha:g}, beta {config.lrn_beta:g}"


def _pooling(draft: Draft) -> str:
    names = {"overlapping": "maximum of 3 x 3, stride 2", "plain": "maximum of 2 x 2"}
    return names.get(draft.config.pooling, draft.config.pooling)


def _conv1(draft: Draft) -> str:
    config = draft.config
    stride = f"stride {config.conv1_stride}, " if isinstance(config, AlexNetConfig) else ""
    return f"{stride}padding {'2' if isinstance(config, CifarNetConfig) else config.conv1_padding}"


def numbers(values: Any) -> str:
    """Writes three numbers; one where they are equal."""
    texts = [f"{float(np.mean(value)):.6g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else ", ".join(texts)


TOPICS: dict[str, Topic] = {
    "activation": Topic("--activation", lambda d: d.config.activation, ("activation",)),
    "conv activation": Topic(
        "conv_activation=",
        lambda d: "after the convolutions too" if d.config.conv_activation else "none after the convolutions",  # type: ignore[union-attr]
        ("conv_activation",),
    ),
    "pooling": Topic("--pooling", _pooling, ("pooling",)),
    "channels": Topic("--channels", lambda d: BGR if d.bgr else RGB),
    "mean": Topic("--mean", lambda d: f"{numbers(d.mean)} of 0..255 is subtracted"),
    "scale": Topic("--std or --scale", lambda d: f"then divided by {numbers([1 / s for s in d.scale])}"),
    "normalization": Topic(
        "norm=, norm1=, norm2=", _normalization, ("norm", "norm1", "norm2", "within_map_norm", "lrn_per_tower")
    ),
    "place of the batch normalization": Topic(
        "not possible: in another place it cannot be imported", lambda d: "directly after the layers, by their names"
    ),
    "constants of the normalization": Topic(
        "lrn_size=, lrn_alpha=, lrn_beta=",
        _constants,
        ("lrn_size", "lrn_alpha", "lrn_beta", "norm_size", "norm_alpha", "norm_beta"),
        lambda d: _has_lrn(d) or (isinstance(d.config, CifarNetConfig) and d.config.norm != "none"),
    ),
    "k of LRN": Topic("--lrn-k", lambda d: f"{d.config.lrn_k:g}", ("lrn_k",), _has_lrn),  # type: ignore[union-attr]
    "conv1": Topic("conv1_stride=, conv1_padding=", _conv1, ("conv1_stride", "conv1_padding")),
    "input size": Topic("crop_size=", lambda d: f"{d.config.crop_size} pixels", ("crop_size", "pool5_grid")),
    "rounding of the pooling": Topic(
        "pool_rounding=",
        lambda d: d.config.pool_rounding,  # type: ignore[union-attr]
        ("pool_rounding", "pool5_rounding"),
    ),
}
TOPIC_OF = {name: topic for topic, entry in TOPICS.items() for name in entry.fields}


def settle(draft: Draft, settings: Settings, where: str) -> Draft:
    """Puts what the user says in the place of what was assumed.

    Raises:
        UsageError: E206, the file says something else; E207, the network has no such thing; and those of `override`
            and of `Settings.pixels`.
    """
    changes = [f"model.{name}={value}" for name, value in _named_changes(draft, settings, where).items()]
    settled = _with_changes(draft, [*changes, *settings.changes], where)
    mean, scale = settings.pixels()
    given = {topic for topic, value in (("mean", mean), ("scale", scale)) if value is not None}
    if settings.channels is not None:
        if len(draft.layers) == 0 or draft.layers[0].weight.shape[1] != 3:
            raise _no_such_thing("--channels", where, "it takes gray images")
        given.add("channels")
        settled = with_channels(settled, settings.channels == "bgr")
    if given & {"mean", "scale"}:
        settled = with_pixels(settled, mean or settled.mean, scale or settled.scale)
    return replace(settled, unknown=settled.unknown - given, given=settled.given | given)


def with_channels(draft: Draft, bgr: bool) -> Draft:
    """The draft with another order of the colors; a mean and scale of the file are in that of the channels of conv1."""
    if bgr == draft.bgr:
        return draft
    changes: dict[str, Any] = {
        name: getattr(draft, name)[::-1] for name in ("mean", "scale") if _is_stored(draft, name)
    }
    return replace(draft, bgr=bgr, **changes)


def _is_stored(draft: Draft, topic: str) -> bool:
    """Whether mean or scale are of the file: neither assumed, nor set, nor those of a published file."""
    facts = {topic, "input_norm", "own"} & draft.stored.facts.keys()
    return bool(facts) and topic not in draft.unknown | draft.given


def with_pixels(draft: Draft, mean: Any, scale: Triple) -> Draft:
    """The draft with another mean and scale; a recipe that subtracts a whole mean image keeps one of equal pixels."""
    if draft.config.input_norm == "unit" and any(value != 0 for value in mean):
        draft = replace(draft, recipe=replace(draft.recipe, model=replace(draft.config, input_norm="standardise")))
    return replace(draft, mean=mean, scale=scale)


def _named_changes(draft: Draft, settings: Settings, where: str) -> dict[str, Any]:
    """The fields that --activation, --pooling and --lrn-k stand for."""
    config, changes = draft.config, dict[str, Any]()
    if settings.activation is not None:
        changes["activation"] = settings.activation
    if settings.pooling is not None:
        is_alexnet = isinstance(config, AlexNetConfig)
        if settings.pooling not in (("max", "overlapping", "plain") if is_alexnet else ("max", "average")):
            has = "takes the maximum, overlapping or plain" if is_alexnet else "pools by max or average"
            raise _no_such_thing(f"--pooling {settings.pooling}", where, f"this kind of network {has}")
        changes["pooling"] = config.pooling if is_alexnet and settings.pooling == "max" else settings.pooling
    if settings.lrn_k is not None:
        if not isinstance(config, AlexNetConfig) or config.norm == "batch":
            raise _no_such_thing("--lrn-k", where, "its network has no LRN with a constant k")
        if config.norm == "none" and "normalization" in draft.unknown:
            changes |= {"norm": "lrn", "norm1": "after-activation", "norm2": "after-activation"}
        changes["lrn_k"] = settings.lrn_k
    return changes


def _with_changes(draft: Draft, changes: list[str], where: str) -> Draft:
    recipe = override(draft.recipe, changes)
    named = {change.lstrip("-").partition("=")[0].rpartition(".")[2].replace("-", "_") for change in changes}
    before, after = draft.recipe.model, recipe.model
    given = set()
    for name in [f.name for f in fields(after)]:
        topic = TOPIC_OF.get(name)
        if topic in draft.unknown and (name in named or getattr(before, name) != getattr(after, name)):
            given.add(topic)
        elif getattr(before, name) != getattr(after, name) and name not in FREE:
            raise UsageError(
                f"{where} says itself that {name} is {getattr(before, name)}, not {getattr(after, name)}",
                fix="Leave this setting out; only what a file does not say can be set.",
                code="E206",
            )
    if "k of LRN" in given and "normalization" in draft.unknown and "norm" not in named:
        given.discard("normalization")
    return replace(draft, recipe=recipe, unknown=draft.unknown - given, given=draft.given | given)


def _no_such_thing(option: str, where: str, why: str) -> UsageError:
    return UsageError(
        f"{option} cannot be said of {where}: {why}",
        fix="Leave it out; alexnet identify FILE shows the network.",
        code="E207",
    )
