"""Load a model once per process, converted once per machine."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from deception_saes.models.convert import convert, find_gguf, find_parts
from deception_saes.models.hub import cached_commit, find_snapshot
from deception_saes.models.spec import (
    GgufParts,
    GgufWheel,
    HubModel,
    ModelSpec,
    ModelUnavailable,
    RandomWeights,
)
from deception_saes.store.ensure import ensure
from deception_saes.store.files import PACKAGE_DIR
from deception_saes.store.spec import Spec

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class LanguageModel:
    """A loaded model in evaluation mode, with its tokenizer."""

    spec: ModelSpec
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def why_unavailable(spec: ModelSpec) -> str | None:
    """Why this model is not available here, or None if it is. Loads nothing and asks no server: a
    hub model is available once `hub.fetch` has brought it into the cache."""
    try:
        if isinstance(spec.source, GgufWheel):
            find_gguf(spec.source)
        elif isinstance(spec.source, GgufParts):
            find_parts(spec.source)
        elif isinstance(spec.source, HubModel):
            find_snapshot(spec.source)
    except ModelUnavailable as error:
        return str(error)
    return None


def conversion_spec(spec: ModelSpec) -> Spec:
    """What decides the bytes of the converted folder."""
    corpus = ((PACKAGE_DIR / spec.source.corpus,) if isinstance(spec.source, RandomWeights)
              else ())
    return Spec(unit=spec.slug, params=spec.source, sources=("deception_saes.models.convert",),
                data=corpus, libraries=("torch", "transformers", "gguf", "tokenizers"),
                pinned=True)


def at_commit(spec: ModelSpec) -> ModelSpec:
    """The model with a hub branch replaced by the commit that the local cache holds of it, so that
    a spec that names the model names its weights. One that is not there stays as it is."""
    if not isinstance(spec.source, HubModel):
        return spec
    commit = cached_commit(spec.source) or spec.source.revision
    return dataclasses.replace(spec, source=dataclasses.replace(spec.source, revision=commit))


def weights_hash(spec: ModelSpec) -> tuple[str, ...]:
    """For the inputs of a spec whose work runs the model: what decides its weights and tokenizer
    and does not stand in the `ModelSpec`. A hub model's commit does, see `at_commit`."""
    return () if isinstance(spec.source, HubModel) else (conversion_spec(spec).hash,)


def converted(spec: ModelSpec, artifacts: Path) -> Path:
    """A folder that transformers loads: `artifacts/models/{key}`, made if it is missing.

    The key is the GGUF's sha256, or the spec hash of a model made on the spot. A hub model needs
    no conversion: its folder is the hub cache's own.
    Raises ModelUnavailable if the model is not available.
    """
    if isinstance(spec.source, HubModel):
        return find_snapshot(spec.source)
    work = conversion_spec(spec)
    key = work.hash if isinstance(spec.source, RandomWeights) else spec.source.sha256
    tree = artifacts / "models"
    ensure(tree, work, partial(_convert, spec, key))
    return tree / key


def _convert(spec: ModelSpec, key: str, out: Path) -> None:
    convert(spec.source, out / key)


def family(spec: ModelSpec, artifacts: Path) -> str:
    """The model's architecture as its configuration names it, a key of `anatomy.FAMILIES`, without
    loading the model. Raises ModelUnavailable if the model is not available."""
    config = converted(spec, artifacts) / "config.json"
    return str(json.loads(config.read_text(encoding="utf-8"))["model_type"])


@lru_cache(maxsize=1)
def load(spec: ModelSpec, artifacts: Path, device: str) -> LanguageModel:
    """The model on `device`, float32, from its converted folder. Touches no network.

    Its attention is PyTorch's `scaled_dot_product_attention`, whatever its configuration asks for:
    the engines mask by booleans, which other implementations read otherwise.
    The last model stays loaded: a process works on one model at a time.
    Raises ModelUnavailable if the model is not available or has no such attention.
    """
    folder = converted(spec, artifacts)
    options: dict[str, Any] = {"local_files_only": True}
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
    with _quiet():
        try:
            model = transformers.AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, attn_implementation="sdpa",
                **options)
        except ValueError as error:
            if "scaled_dot_product_attention" not in str(error):
                raise
            raise ModelUnavailable(f"{spec.slug}: transformers has no scaled_dot_product_attention "
                                   "for this family, which the engines need; choose a model of "
                                   "another family") from None
    torch.nn.Module.to(model, device)  # transformers' own `to` is untyped
    avoid_wrong_attention(model)
    model.eval().requires_grad_(False)
    return LanguageModel(spec, model, tokenizer)


def avoid_wrong_attention(model: PreTrainedModel) -> None:
    """Turn off PyTorch's memory-efficient attention for a model on a GPU all of whose heads share
    one key head.

    For keys and values that are expanded along the heads it gives a wrong last row where their
    number is one more than a multiple of 32: pytorch/pytorch issue 191937, seen here with torch
    2.11 on an H200. PyTorch then takes another of its kernels.
    """
    if model.device.type == "cuda" and getattr(model.config, "num_key_value_heads", None) == 1:
        torch.backends.cuda.enable_mem_efficient_sdp(False)


@contextmanager
def _quiet() -> Iterator[None]:
    """No bar for the tenth of a second that reading mapped weights takes."""
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.utils.logging.enable_progress_bar()
