"""SAEs as SAELens keeps them: a folder with `sae_weights.safetensors` and `cfg.json`.

A safetensors file has no checksum. So each of the two files that `save` writes vouches for the
other: `cfg.json` holds the digest of the weights file (`metadata.weights_sha256`), and the header
of the weights file holds the digest of everything else in `cfg.json` (`cfg_sha256`). `load` asks
for both digests or for neither: whatever is altered in one file, its own digest included, disagrees
with the other. Files that are not of this project have neither and are judged by their content.

Shape suffixes: D d_in, S d_sae.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from deception_saes.saes.config import SaeConfig, SaeError
from deception_saes.saes.registry import ARCHITECTURES, build
from deception_saes.saes.sae import Sae
from deception_saes.store.files import sha256_file, write_atomic

WEIGHTS = "sae_weights.safetensors"
CFG = "cfg.json"
NEEDED_METADATA = ("model_name", "hook_name", "prepend_bos", "context_size")

# Without a version of at least 6.0 SAELens drops the metadata, hook_name among it, silently.
_SAE_LENS_VERSION = "6.0.0"
_MODEL_CLASS = "AutoModelForCausalLM"
_SEAL_OF_WEIGHTS = "weights_sha256"
_SEAL_OF_CFG = "cfg_sha256"
_FORMAT_KEYS = {"architecture", "d_in", "d_sae", "dtype", "device", "k", "apply_b_dec_to_input",
                "normalize_activations", "reshape_activations", "rescale_acts_by_decoder_norm",
                "metadata"}
_DTYPES = {"F16", "BF16", "F32", "F64"}
_AGAIN = "get both files again, or train the SAE again"


def save(sae: Sae, folder: Path) -> None:
    """Write the two files, the weights first, each atomically: the same SAE gives the same bytes.

    The weights are written as float32. SAELens loads the folder with `SAE.load_from_disk`.
    Raises SaeError, before anything is written, if `config.metadata` lacks one of
    NEEDED_METADATA or holds what JSON does not.
    """
    cfg = _cfg(sae, folder)
    # Clones: safetensors takes neither views nor weights that share memory.
    weights = {name: weight.detach().to("cpu", torch.float32).clone(
        memory_format=torch.contiguous_format) for name, weight in sae.weights.items()}
    # One entry only: SAELens needs none, and the order of several is not safetensors' promise.
    data = to_bytes(weights, metadata={_SEAL_OF_CFG: _digest(cfg)})
    cfg["metadata"][_SEAL_OF_WEIGHTS] = hashlib.sha256(data).hexdigest()
    write_atomic(folder / WEIGHTS, data)
    write_atomic(folder / CFG, json.dumps(cfg, indent=1) + "\n")


def load(folder: Path) -> Sae:
    """The SAE of a folder, float32 on the CPU.

    What other projects' files show is accepted where it has one meaning: 16- and 64-bit floats,
    `log_threshold`, a threshold in a TopK file, `.hook_resid_post` after the module's path,
    metadata at the top of `cfg.json`, sizes left to the weights, `rescale_acts_by_decoder_norm`
    (folded into the weights). A threshold below 0 acts as 0, since features are never negative.
    Raises SaeError, naming the file, for everything else: one that is missing, damaged or changed
    since `save` wrote it, or that asks for what the architectures here do not do.
    """
    cfg = _read_cfg(folder / CFG)
    weights, header = _read_weights(folder / WEIGHTS)
    _check_seals(cfg, header, folder)
    try:
        config = _config(cfg, weights)
        weights = _tidied(config, weights)
        if _flag(cfg, "rescale_acts_by_decoder_norm", False):
            weights = _with_decoder_norm_folded(config, weights)
        return build(config, weights)
    except SaeError as error:
        raise SaeError(f"{folder}: {error}") from None


def _cfg(sae: Sae, folder: Path) -> dict[str, Any]:
    """What `cfg.json` holds but for the weights' digest."""
    config = sae.config
    lacking = [name for name in NEEDED_METADATA if name not in config.metadata]
    if lacking:
        raise SaeError(f"{folder}: the SAE's metadata lacks {', '.join(lacking)}; without it "
                       "nobody can tell what the SAE is for: put it into its configuration")
    cfg = {
        "architecture": config.architecture,
        "d_in": config.d_in,
        "d_sae": config.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": config.apply_b_dec_to_input,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"model_class_name": _MODEL_CLASS, **config.metadata,
                     "sae_lens_version": _SAE_LENS_VERSION},
    }
    if config.architecture == "topk":
        cfg |= {"k": config.k, "rescale_acts_by_decoder_norm": False}
    try:
        read_back = json.loads(json.dumps(cfg, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise SaeError(f"{folder}: the SAE's metadata is not plain JSON data ({error})") from None
    if read_back != cfg:
        raise SaeError(f"{folder}: the SAE's metadata would be read back as something else; use "
                       "lists rather than tuples, and text as keys")
    return cfg


def _digest(cfg: Mapping[str, Any]) -> str:
    """Of a cfg's content without the weights' digest: layout and order do not matter."""
    metadata = {key: value for key, value in cfg["metadata"].items() if key != _SEAL_OF_WEIGHTS}
    text = json.dumps({**cfg, "metadata": metadata}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _read_cfg(path: Path) -> dict[str, Any]:
    try:
        cfg = json.loads(path.read_bytes())
    except OSError as error:
        raise _unreadable(path, error) from None
    except (ValueError, RecursionError) as error:
        raise SaeError(f"{path}: not JSON ({error}); {_AGAIN}") from None
    if not isinstance(cfg, dict) or not isinstance(cfg.setdefault("metadata", {}), dict):
        raise SaeError(f"{path}: it and its `metadata` must be JSON objects; {_AGAIN}")
    return cfg


def _read_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Every tensor as float32, and the header's metadata. A header that promises more than the
    file holds is refused before anything is allocated."""
    try:
        with safe_open(path, framework="pt") as file:
            weights = {}
            for name in file.keys():  # noqa: SIM118 - not a mapping
                dtype = file.get_slice(name).get_dtype()
                if dtype not in _DTYPES:
                    raise SaeError(f"{path}: {name} is of type {dtype}; expected one of "
                                   f"{', '.join(sorted(_DTYPES))}")
                # A copy: otherwise the weights would change with the file under them.
                weights[name] = file.get_tensor(name).to(torch.float32, copy=True)
            return weights, file.metadata() or {}
    except OSError as error:
        raise _unreadable(path, error) from None
    except SafetensorError as error:
        raise SaeError(f"{path}: not a whole safetensors file ({error}); {_AGAIN}") from None


def _unreadable(path: Path, error: OSError) -> SaeError:
    why = "there is no such file" if isinstance(error, FileNotFoundError) else str(error)
    return SaeError(f"{path}: {why}; an SAE is a folder with {WEIGHTS} and {CFG}")


def _check_seals(cfg: dict[str, Any], header: dict[str, str], folder: Path) -> None:
    of_weights, of_cfg = cfg["metadata"].get(_SEAL_OF_WEIGHTS), header.get(_SEAL_OF_CFG)
    if of_weights is None and of_cfg is None:
        return
    if of_weights != sha256_file(folder / WEIGHTS):
        raise SaeError(f"{folder / WEIGHTS}: its SHA-256 is not {of_weights}, which {CFG} names; "
                       f"one of the two files is damaged or of another SAE: {_AGAIN}")
    if of_cfg != _digest(cfg):
        raise SaeError(f"{folder / CFG}: changed since it was written with {WEIGHTS}, which holds "
                       f"its digest; {_AGAIN}")


def _config(cfg: dict[str, Any], weights: dict[str, torch.Tensor]) -> SaeConfig:
    for name, silent in (("normalize_activations", ("none", None, False)),
                         ("reshape_activations", ("none", None))):
        if cfg.get(name) not in silent:
            raise SaeError(f"{CFG}: {name} is {cfg[name]!r}; only \"none\" can be read here: fold "
                           "it into the weights with SAELens first")
    architecture = _architecture(cfg.get("architecture"))
    k = _size(cfg, "k", None) if architecture == "topk" else None
    return SaeConfig(
        architecture=architecture,
        d_in=_size(cfg, "d_in", _length(weights, "b_dec")),
        d_sae=_size(cfg, "d_sae", _length(weights, "W_dec")),
        k=k,
        apply_b_dec_to_input=_flag(cfg, "apply_b_dec_to_input", True),
        metadata=_metadata(cfg),
    )


def _architecture(name: object) -> str:
    """"JumpReLU" and "jump_relu" are "jumprelu"."""
    plain = re.sub("[_-]", "", name).lower() if isinstance(name, str) else ""
    if plain not in ARCHITECTURES:
        raise SaeError(f"{CFG}: architecture is {name!r}; known: {', '.join(ARCHITECTURES)}")
    return plain


def _size(cfg: dict[str, Any], name: str, otherwise: int | None) -> int:
    value = cfg.get(name, otherwise)
    if isinstance(value, bool) or not isinstance(value, int):
        raise SaeError(f"{CFG}: {name} is {value!r}; expected a whole number, and a guess would "
                       "change the features: correct it from the SAE's source")
    return value


def _length(weights: dict[str, torch.Tensor], name: str) -> int | None:
    return weights[name].shape[0] if name in weights and weights[name].ndim else None


def _flag(cfg: dict[str, Any], name: str, otherwise: bool) -> bool:
    value = cfg.get(name, otherwise)
    if not isinstance(value, bool):
        raise SaeError(f"{CFG}: {name} is {value!r}; expected true or false")
    return value


def _metadata(cfg: dict[str, Any]) -> dict[str, Any]:
    """Everything beyond the format, from the top of the cfg and from its metadata."""
    top = {key: value for key, value in cfg.items() if key not in _FORMAT_KEYS}
    named = {**top, **cfg["metadata"]}
    for source in (top, named):
        hook = source.get("hook_name")
        if isinstance(hook, str) and not hook.startswith("blocks."):  # a path of TransformerLens
            source["hook_name"] = hook.removesuffix(".hook_resid_post")
    for key, value in top.items():
        if named[key] != value:
            raise SaeError(f"{CFG}: {key} is {value!r} at the top and {named[key]!r} in metadata; "
                           "keep the right one")
    hook, layer = str(named.get("hook_name", "")), named.get("hook_layer")
    in_hook = re.search(r"\.(\d+)(\.|$)", hook)
    if layer is not None and in_hook and in_hook[1] != str(layer):
        raise SaeError(f"{CFG}: hook_layer is {layer!r}, yet hook_name is {hook!r}; correct one")
    if named.get("model_class_name") == _MODEL_CLASS:
        del named["model_class_name"]
    return {key: value for key, value in named.items()
            if key not in ("sae_lens_version", _SEAL_OF_WEIGHTS)}


def _tidied(config: SaeConfig, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights by the names that the architecture has."""
    weights = dict(weights)
    logarithm = weights.pop("log_threshold", None)
    if config.architecture == "topk":
        weights.pop("threshold", None)
    elif logarithm is not None:
        threshold = weights.setdefault("threshold", logarithm.exp())
        if threshold.shape != logarithm.shape or not torch.allclose(
                threshold, logarithm.exp(), rtol=1e-2):  # both may be 16-bit
            raise SaeError(f"{WEIGHTS}: threshold is not the exponential of log_threshold; keep "
                           "the one that the SAE was trained with")
    return weights


def _with_decoder_norm_folded(
    config: SaeConfig, weights: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Weights that give at once what TopK gives if pre-activations are multiplied by the norms of
    the decoder's rows and features divided by them."""
    if config.architecture != "topk":
        raise SaeError(f"{CFG}: rescale_acts_by_decoder_norm is for TopK, not for "
                       f"{config.architecture}; set it to false if the SAE was trained without")
    build(config, weights)  # so that the shapes are right
    norm_S = torch.linalg.vector_norm(weights["W_dec"], dim=1)
    divisor_S = norm_S.where(norm_S > 0, 1.0)
    return weights | {"W_enc": weights["W_enc"] * norm_S, "b_enc": weights["b_enc"] * norm_S,
                      "W_dec": weights["W_dec"] / divisor_S[:, None]}
