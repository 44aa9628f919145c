"""`python -m deception_saes judge`: labels of completions by a chat server."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from deception_saes.store.files import ShippedDataError
from deception_saes.tasks.completions import COMPLETIONS, CompletionFileError, load_completions
from deception_saes.tasks.judges.answers import answer_log
from deception_saes.tasks.judges.cost import Prices, spent, tokens_of
from deception_saes.tasks.judges.judging import Judging, Request, ask_all, judging, labels
from deception_saes.tasks.judges.key import JudgeError
from deception_saes.tasks.judges.server import ChatServer, ServerSpec
from deception_saes.tasks.labels import LabelFileError, load_labels, write_labels
from deception_saes.tasks.scenarios import ScenarioFileError, load_scenarios

_TOKENS_OF_A_LABEL = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add = parser.add_argument
    add("--base-url", required=True, help="up to /chat/completions: http://127.0.0.1:8000/v1")
    add("--model", required=True, help="as the server names it")
    add("--mode", choices=("individual", "batch"), default="individual")
    add("--per-prompt", type=int, default=10, help="completions in a batch prompt")
    add("--completions", type=Path, default=COMPLETIONS, help="CSV file; the shipped ones if none")
    add("--of", help="slug of the model whose completions are judged, if the file has several")
    add("--round", help="R3, to judge this round only")
    add("--out", type=Path, required=True,
        help="labels CSV; if it is there, this judge's labels in it are replaced")
    add("--answers", type=Path, help="file of the answers as they arrive; else beside OUT")
    add("--judge", help="name in the labels; else the model's, with -single or -batch")
    add("--key-variable", help="NAME of the environment variable that holds the key")
    add("--price-prompt", type=float, help="money for a million tokens of prompt")
    add("--price-completion", type=float, help="money for a million tokens of reply")
    add("--max-cost", type=float, help="stop before this much money is spent")
    add("--rpm", type=float, help="requests a minute at most")
    add("--timeout", type=float, default=60, help="seconds for one answer")
    add("--attempts", type=int, default=6, help="at one request")
    add("--max-tokens", type=int, help="of a reply; a model that thinks first needs thousands")
    add("--extra", type=_object, default={},
        help='fields of the request as JSON, null leaves one out: {"temperature": null}')
    add("--yes", action="store_true", help="start without asking")


def run(options: argparse.Namespace) -> int:
    """Judge; 0, or 1 after a message for an error that a user can mend, 130 if interrupted."""
    try:
        return _judge(options)
    except (JudgeError, CompletionFileError, LabelFileError, ScenarioFileError,
            ShippedDataError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was answered is kept: run the same command again to go on",
              file=sys.stderr)
        return 130


def _judge(options: argparse.Namespace) -> int:
    batch = options.mode == "batch"
    per_prompt = options.per_prompt if batch else None
    of = judging(load_scenarios(), _chosen(options), per_prompt)
    max_tokens = options.max_tokens or _TOKENS_OF_A_LABEL + 16 * (per_prompt or 0)
    extra = {"max_tokens": max_tokens, **options.extra}
    max_tokens = extra["max_tokens"] or extra.get("max_completion_tokens")
    if not isinstance(max_tokens, int):
        raise JudgeError(f"the length of a reply is {max_tokens!r}; give max_tokens or "
                         "max_completion_tokens as a whole number")
    name = options.judge or (options.model.rstrip("/").rsplit("/")[-1]
                             + ("-batch" if batch else "-single"))
    prices = _prices(options)
    if options.out.exists():
        load_labels(options.out)  # a malformed one is told of before anything is spent
    path = options.answers or options.out.with_name(f"{options.out.stem}.{name}.answers.jsonl")
    asked = {"model": options.model, "mode": options.mode, "per_prompt": per_prompt,
             "max_tokens": max_tokens, "extra": options.extra}
    spec = ServerSpec(options.base_url, options.model, max_tokens, options.key_variable,
                      options.timeout, options.attempts, options.rpm, extra=options.extra)
    with ChatServer(spec) as server, answer_log(path, asked) as log:
        answered = [request.message for request in of.answered(log.answers)]
        so_far = spent(log.answers, answered)
        if not _confirmed(options, of.open(log.answers), max_tokens, prices, so_far):
            return 1
        ask_all(server, of, log, max_tokens, prices, options.max_cost)
        total = spent(log.answers, [request.message for request in of.answered(log.answers)])
        _finish(options.out, name, of, dict(labels(log.answers)), path)
    print(_in_words("spent", total, prices))
    return 0


def _chosen(options: argparse.Namespace) -> list[Any]:
    completions = load_completions(options.completions)
    models = sorted({completion.model for completion in completions})
    if options.of is None and len(models) > 1:
        raise JudgeError(f"{options.completions.name} has completions of {', '.join(models)}; say "
                         "with --of which are to be judged")
    if options.of not in (None, *models):
        raise JudgeError(f"{options.completions.name} has no completions of {options.of}, only of "
                         f"{', '.join(models)}")
    rounds = sorted({completion.round for completion in completions})
    if options.round not in (None, *rounds):
        raise JudgeError(f"{options.completions.name} has no round {options.round}, only "
                         f"{', '.join(rounds)}")
    return [completion for completion in completions
            if options.of in (None, completion.model) and options.round in (None, completion.round)]


def _prices(options: argparse.Namespace) -> Prices | None:
    given = (options.price_prompt, options.price_completion)
    for price in (*given, options.max_cost):
        if price is not None and not 0 <= price < float("inf"):
            raise JudgeError(f"{price} is no amount of money; expected a number from 0")
    if None in given:
        if options.max_cost is not None or given != (None, None):
            raise JudgeError("a cost needs both prices: --price-prompt and --price-completion, "
                             "for a million tokens each")
        return None
    return Prices(*given)


def _confirmed(
    options: argparse.Namespace,
    requests: list[Request],
    max_tokens: int,
    prices: Prices | None,
    so_far: tuple[int, int],
) -> bool:
    """Print the estimate; whether to go on. JudgeError if it passes the largest cost."""
    tokens = sum(tokens_of(request.message) for request in requests), len(requests) * max_tokens
    n = sum(len(request.completions) for request in requests)
    print(f"{n} completions to judge, {len(requests)} requests to {options.model}")
    print(_in_words("estimated, at most", tokens, prices))
    if any(so_far):
        print(_in_words("spent in earlier runs", so_far, prices))
    if prices and options.max_cost is not None:
        most = prices.of(*so_far) + prices.of(*tokens)
        if most > options.max_cost:
            raise JudgeError(f"this may cost {most:.4f} in all, more than the largest cost, "
                             f"{options.max_cost:.4f}; raise it, or judge fewer completions")
    if options.yes or not requests:
        return True
    try:
        agreed = input("go on? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        agreed = False
    if not agreed:
        print("nothing was asked; answer y, or give --yes")
    return agreed


def _finish(
    out: Path, name: str, of: Judging, found: dict[str, str | None], path: Path
) -> None:
    kept = {id: label for id in of.completions if (label := found[id]) is not None}
    write_labels(out, name, kept)
    counts = Counter(kept.values())
    print(f"{name}: {', '.join(f'{counts[label]} {label}' for label in sorted(counts))}"
          f"{', ' if counts else ''}{len(found) - len(kept)} replies without a label (in {path}); "
          f"labels in {out}")


def _in_words(what: str, tokens: tuple[int, int], prices: Prices | None) -> str:
    cost = f"{prices.of(*tokens):.4f}" if prices else "no prices given, so no cost"
    return f"{what}: {tokens[0]} tokens of prompts, {tokens[1]} of replies; {cost}"


def _object(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON object")
    return found
