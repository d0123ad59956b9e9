"""Reading the architecture of a dense decoder from a HF config.json.

Keys, and what an absent key means, are those of the configuration class of each family in transformers 5.23
(``transformers/models/*/configuration_*.py``).  Sizes have to be written: a default size is another model's size.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulator import config
from simulator.errors import ConfigError
from simulator.models.architecture import Activation, Architecture, Norm, Positions

MAX_LAYERS = 4096
MAX_SIZE = 2**32

_UNSUPPORTED_KEYS = {
    "num_local_experts": "a mixture of experts",
    "num_experts": "a mixture of experts",
    "n_routed_experts": "a mixture of experts",
    "moe_intermediate_size": "a mixture of experts",
    "kv_lora_rank": "multi-head latent attention",
    "index_topk": "sparse attention",
    "state_size": "a state-space model",
    "d_state": "a state-space model",
    "mamba_d_state": "a state-space model",
    "ssm_cfg": "a state-space model",
    "lru_width": "a recurrent model",
    "linear_num_value_heads": "linear attention",
    "attn_layers": "Reformer attention",
    "quantization_config": "a quantised checkpoint",
    "is_encoder_decoder": "an encoder-decoder",
    "add_cross_attention": "cross attention",
    "text_config": "a multimodal model",
    "vision_config": "a multimodal model",
}


def load(name_or_path: str) -> Architecture:
    """Return the architecture of configs/models/NAME.json, of a config.json, or of a folder that holds one.

    Raises ConfigError naming file, key and what is missing, wrong or unsupported.
    """
    shipped = name_or_path in config.names("models", ".json")
    if not shipped and Path(name_or_path).is_dir():
        path = Path(name_or_path) / "config.json"
    else:
        path = config.find("models", name_or_path, ".json")
    return parse(config.read_json(path), str(path), _name_of(path))


def parse(tree: dict[str, Any], where: str, name: str) -> Architecture:
    """Return the architecture described by the object of a config.json.

    Raises ConfigError naming `where`, the file, and the key.
    """
    keys = _Keys(tree, where)
    for key, what in _UNSUPPORTED_KEYS.items():
        if tree.get(key):
            raise keys.error(key, f"{what} is not supported; only dense decoders are ({', '.join(_FAMILIES)})")
    family = keys.text("model_type")
    if family not in _FAMILIES:
        raise keys.error("model_type", f"{family!r} is not supported; {config.nearest(family, _FAMILIES)}")
    return config.build(Architecture, {"name": name, "family": family} | _FAMILIES[family](keys), where)


def _name_of(path: Path) -> str:
    return path.resolve().parent.name if path.name == "config.json" else path.stem


@dataclass(frozen=True)
class _Keys:
    """Typed access to the keys of one file; a null counts as absent, as it does in transformers."""

    tree: dict[str, Any]
    where: str

    def error(self, key: str, what: str) -> ConfigError:
        """Return the error that says what is wrong with a key."""
        return ConfigError(f"{self.where}: {key}: {what}")

    def has(self, key: str) -> bool:
        """Return whether the key is there and not null."""
        return self.tree.get(key) is not None

    def size(self, key: str, most: int = MAX_SIZE) -> int:
        """Return a positive integer that has to be there."""
        if not self.has(key):
            raise self.error(key, "missing; add this key")
        value = self.tree[key]
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(key, f"an integer is expected, not {_shown(value)}")
        if not 0 < value <= most:
            raise self.error(key, f"must be between 1 and {most} (given {_shown(value)})")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Return a boolean, `default` where it is absent."""
        value = self.tree[key] if self.has(key) else default
        if not isinstance(value, bool):
            raise self.error(key, f"true or false is expected, not {_shown(value)}")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """Return a string, `default` where it is absent."""
        value = self.tree[key] if self.has(key) else default
        if value is None:
            raise self.error(key, "missing; add this key")
        if not isinstance(value, str):
            raise self.error(key, f"a string is expected, not {_shown(value)}")
        return value

    def table(self, key: str) -> dict[str, Any]:
        """Return an object, empty where it is absent."""
        value = self.tree[key] if self.has(key) else {}
        if not isinstance(value, dict):
            raise self.error(key, f"an object is expected, not {_shown(value)}")
        return value

    def activation(self, key: str, default: Activation) -> Activation:
        """Return the activation function."""
        name = self.text(key, default)
        supported = [function.value for function in Activation]
        if name not in supported:
            raise self.error(key, f"{name!r} is not supported; {config.nearest(name, supported)}")
        return Activation(name)

    def require(self, key: str, expected: bool, default: bool, why: str) -> None:
        """Raise ConfigError unless a boolean key has the one value that is supported."""
        if self.flag(key, default) != expected:
            raise self.error(key, f"{str(not expected).lower()} ({why}) is not supported")


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


# gpt2 and OPT: learned positions, layer norms with bias, biases everywhere, plain MLP


def _gpt2(keys: _Keys) -> dict[str, Any]:
    hidden, heads = keys.size("n_embd"), keys.size("n_head")
    return _learned(keys, hidden, heads) | {
        "intermediate": keys.size("n_inner") if keys.has("n_inner") else 4 * hidden,
        "layers": keys.size("n_layer", MAX_LAYERS),
        "head_dim": _derived_head_dim(keys, "n_embd", hidden, "n_head", heads),
        "max_positions": keys.size("n_positions"),
        "activation": keys.activation("activation_function", Activation.GELU_NEW),
        "final_norm": True,
    }


def _opt(keys: _Keys) -> dict[str, Any]:
    hidden, heads = keys.size("hidden_size"), keys.size("num_attention_heads")
    if keys.has("word_embed_proj_dim") and keys.size("word_embed_proj_dim") != hidden:
        raise keys.error("word_embed_proj_dim", f"an embedding projection (not hidden_size {hidden}) is not supported")
    keys.require("do_layer_norm_before", True, True, "normalisation after each block")
    keys.require("enable_bias", True, True, "linear layers without bias")
    keys.require("layer_norm_elementwise_affine", True, True, "norms without parameters")
    return _learned(keys, hidden, heads) | {
        "intermediate": keys.size("ffn_dim"),
        "layers": keys.size("num_hidden_layers", MAX_LAYERS),
        "head_dim": _derived_head_dim(keys, "hidden_size", hidden, "num_attention_heads", heads),
        "max_positions": keys.size("max_position_embeddings"),
        "position_offset": 2,
        "activation": keys.activation("activation_function", Activation.RELU),
        "final_norm": not keys.flag("_remove_final_layer_norm", False),
    }


def _learned(keys: _Keys, hidden: int, heads: int) -> dict[str, Any]:
    """Return what gpt2 and OPT have in common."""
    return {
        "hidden": hidden,
        "heads": heads,
        "kv_heads": heads,
        "vocab": keys.size("vocab_size"),
        "gated_mlp": False,
        "norm": Norm.LAYERNORM,
        "norm_bias": True,
        "norms_per_layer": 2,
        "positions": Positions.LEARNED,
        "qkv_bias": True,
        "output_bias": True,
        "mlp_bias": True,
        "qk_norm": False,
        "tied_embeddings": keys.flag("tie_word_embeddings", True),
    }


# Llama and its relatives: rotary positions, RMSNorm, gated MLP


@dataclass(frozen=True)
class _Rules:
    """How a relative of Llama differs from it."""

    window: Callable[[_Keys, int], tuple[int | None, range]]  # keys, layers -> sliding window, layers it applies to
    tied: bool = False  # when tie_word_embeddings is absent
    kv_heads_default: bool = False  # an absent num_key_value_heads means num_attention_heads
    head_dim: int | None = None  # when head_dim is absent; None: hidden / heads
    bias_key: bool = False  # attention_bias adds a bias to q, k, v and output
    qkv_bias: bool = False  # always
    mlp_bias_key: bool = False
    qk_norm: bool = False
    norms_per_layer: int = 2
    activation_key: str = "hidden_act"
    activation: Activation = Activation.SILU


def _relative_of_llama(rules: _Rules) -> Callable[[_Keys], dict[str, Any]]:
    """Return the reader of a family."""

    def read(keys: _Keys) -> dict[str, Any]:
        _refuse_partial_rotary(keys)
        layers = keys.size("num_hidden_layers", MAX_LAYERS)
        bias = rules.bias_key and keys.flag("attention_bias", False)
        window, sliding = _sliding(keys, layers, rules)
        return _attention_sizes(keys, rules) | {
            "intermediate": keys.size("intermediate_size"),
            "layers": layers,
            "vocab": keys.size("vocab_size"),
            "max_positions": keys.size("max_position_embeddings"),
            "gated_mlp": True,
            "activation": keys.activation(rules.activation_key, rules.activation),
            "norm": Norm.RMSNORM,
            "norm_bias": False,
            "norms_per_layer": rules.norms_per_layer,
            "final_norm": True,
            "positions": Positions.ROPE,
            "qkv_bias": rules.qkv_bias or bias,
            "output_bias": bias,
            "mlp_bias": rules.mlp_bias_key and keys.flag("mlp_bias", False),
            "qk_norm": rules.qk_norm,
            "tied_embeddings": keys.flag("tie_word_embeddings", rules.tied),
            "sliding_window": window,
            "sliding_layers": sliding,
        }

    return read


def _attention_sizes(keys: _Keys, rules: _Rules) -> dict[str, Any]:
    hidden, heads = keys.size("hidden_size"), keys.size("num_attention_heads")
    if keys.has("head_dim"):
        head_dim = keys.size("head_dim")
    else:
        head_dim = rules.head_dim or _derived_head_dim(keys, "hidden_size", hidden, "num_attention_heads", heads)
    if rules.kv_heads_default or "num_key_value_heads" in keys.tree:
        kv_heads = keys.size("num_key_value_heads") if keys.has("num_key_value_heads") else heads
    else:
        kv_heads = keys.size("num_key_value_heads")
    if heads % kv_heads:
        raise keys.error("num_key_value_heads", f"{kv_heads} does not divide num_attention_heads ({heads})")
    return {"hidden": hidden, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim}


def _derived_head_dim(keys: _Keys, hidden_key: str, hidden: int, heads_key: str, heads: int) -> int:
    if hidden % heads:
        raise keys.error(hidden_key, f"{hidden} is not a multiple of {heads_key} ({heads}), and no head_dim is used")
    return hidden // heads


def _refuse_partial_rotary(keys: _Keys) -> None:
    for holder in ("", "rope_parameters", "rope_scaling"):
        table = keys.table(holder) if holder else keys.tree
        factor = table.get("partial_rotary_factor")
        if factor is not None and factor != 1:
            path = f"{holder}.partial_rotary_factor".removeprefix(".")
            raise keys.error(path, f"{_shown(factor)} (rotary positions on part of a head) is not supported")


def _sliding(keys: _Keys, layers: int, rules: _Rules) -> tuple[int | None, tuple[int, ...]]:
    """Return the sliding window and the layers it applies to; layer_types, where given, says which."""
    window, sliding = rules.window(keys, layers)
    chosen = tuple(sliding)
    if keys.has("layer_types"):
        chosen = _layer_types(keys, layers)
    return (window, chosen) if window is not None and chosen else (None, ())


def _layer_types(keys: _Keys, layers: int) -> tuple[int, ...]:
    kinds = keys.tree["layer_types"]
    if not isinstance(kinds, list) or len(kinds) != layers:
        raise keys.error("layer_types", f"a list of num_hidden_layers ({layers}) names is expected")
    for kind in kinds:
        if kind not in ("full_attention", "sliding_attention"):
            raise keys.error(
                "layer_types", f"{_shown(kind)} is not supported; allowed: full_attention, sliding_attention"
            )
    return tuple(layer for layer, kind in enumerate(kinds) if kind == "sliding_attention")


def _no_window(_keys: _Keys, layers: int) -> tuple[int | None, range]:
    return None, range(layers)


def _window_everywhere(keys: _Keys, layers: int) -> tuple[int | None, range]:
    """Mistral and phi3: all layers use the window; a null is none."""
    return (keys.size("sliding_window") if keys.has("sliding_window") else None), range(layers)


def _mistral_window(keys: _Keys, layers: int) -> tuple[int | None, range]:
    """Mistral: as `_window_everywhere`, and an absent key means 4096."""
    return _window_everywhere(keys, layers) if "sliding_window" in keys.tree else (4096, range(layers))


def _qwen_window(keys: _Keys, layers: int) -> tuple[int | None, range]:
    """Qwen: only with use_sliding_window, on the layers from max_window_layers on."""
    if not keys.flag("use_sliding_window", False):
        return None, range(0)
    if "sliding_window" in keys.tree and not keys.has("sliding_window"):
        return None, range(0)
    window = keys.size("sliding_window") if keys.has("sliding_window") else 4096
    first = keys.tree.get("max_window_layers", 28)
    if isinstance(first, bool) or not isinstance(first, int) or first < 0:
        raise keys.error("max_window_layers", f"a number of layers is expected, not {_shown(first)}")
    return window, range(min(first, layers), layers)


def _gemma2_window(keys: _Keys, layers: int) -> tuple[int | None, range]:
    """Gemma-2: every other layer, the first included; an absent key means 4096."""
    window, _all_layers = _mistral_window(keys, layers)
    return window, range(0, layers, 2)


_FAMILIES: dict[str, Callable[[_Keys], dict[str, Any]]] = {
    "gpt2": _gpt2,
    "opt": _opt,
    "llama": _relative_of_llama(_Rules(_no_window, kv_heads_default=True, bias_key=True, mlp_bias_key=True)),
    "mistral": _relative_of_llama(_Rules(_mistral_window)),
    "qwen2": _relative_of_llama(_Rules(_qwen_window, qkv_bias=True)),
    "qwen3": _relative_of_llama(_Rules(_qwen_window, head_dim=128, bias_key=True, qk_norm=True)),
    "gemma2": _relative_of_llama(
        _Rules(
            _gemma2_window,
            tied=True,
            head_dim=256,
            bias_key=True,
            norms_per_layer=4,
            activation_key="hidden_activation",
            activation=Activation.GELU_TANH,
        )
    ),
    "phi3": _relative_of_llama(_Rules(_window_everywhere, kv_heads_default=True)),
}
