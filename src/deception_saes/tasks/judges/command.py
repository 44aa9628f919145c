"""The command `judge`: labels of completions by a chat server."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deception_saes.errors import UserError
from deception_saes.tasks.completions import COMPLETIONS, Completion, load_completions
from deception_saes.tasks.judges.chat_server import connect, scrubbed
from deception_saes.tasks.judges.hosted import (
    RESUME,
    Answer,
    Bill,
    Request,
    answers_file,
    ask_all,
    most_they_cost,
    requests_about,
)
from deception_saes.tasks.labels import load_labels, write_labels
from deception_saes.tasks.scenarios import load_scenarios

_TOKENS_OF_A_LABEL = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    count, amount, money = _number(int, 1), _number(float, 1e-9), _number(float, 0)
    add = parser.add_argument
    add("--base-url", required=True, help="up to /chat/completions: http://127.0.0.1:8000/v1")
    add("--model", required=True, help="as the server names it")
    add("--mode", choices=("individual", "batch"), default="individual")
    add("--per-prompt", type=count, default=10, help="completions in a batch prompt")
    add("--completions", type=Path, default=COMPLETIONS, help="CSV file; the shipped ones if none")
    add("--of", help="slug of the model whose completions are judged, if the file has several")
    add("--round", help="R3, to judge this round only")
    add("--out", type=Path, required=True,
        help="labels CSV; if it exists, this judge's labels in it are replaced")
    add("--answers", type=Path, help="file of the answers as they arrive; else beside OUT")
    add("--judge", help="name in the labels; else the model's, with -single or -batch")
    add("--key-variable", help="NAME of the environment variable that holds the key")
    add("--price-prompt", type=money, help="money for a million tokens of prompt")
    add("--price-completion", type=money, help="money for a million tokens of reply")
    add("--max-cost", type=money, help="stop before this much money is spent")
    add("--rpm", type=amount, help="requests a minute at most")
    add("--timeout", type=amount, default=60, help="seconds without a byte of the answer")
    add("--attempts", type=count, default=10, help="at one request")
    add("--max-tokens", type=count, help="of a reply; a model that thinks first needs thousands")
    add("--extra", type=_object, default={},
        help='fields of the request as JSON, null leaves one out: {"temperature": null}')
    add("--yes", action="store_true", help="start without asking")


def run(options: argparse.Namespace) -> int:
    """Judge; 0, 1 if the user does not want to, 130 if interrupted. Raises UserError."""
    try:
        return _judge(options)
    except OSError as error:
        raise UserError(str(error)) from None
    except KeyboardInterrupt:
        print(f"interrupted; {RESUME}", file=sys.stderr)
        return 130


def _judge(options: argparse.Namespace) -> int:
    per_prompt = options.per_prompt if options.mode == "batch" else None
    chosen, scenarios = _chosen(options), {of.id: of for of in load_scenarios()}
    max_tokens = options.max_tokens or _TOKENS_OF_A_LABEL + 16 * (per_prompt or 0)
    fields = {"temperature": 0, "max_tokens": max_tokens, **options.extra}
    max_tokens = fields["max_tokens"] or fields.get("max_completion_tokens")
    if not isinstance(max_tokens, int):
        raise UserError(f"the length of a reply is {max_tokens!r}; give max_tokens or "
                        "max_completion_tokens as a whole number")
    judge = options.judge or (options.model.rstrip("/").rsplit("/")[-1]
                              + ("-batch" if per_prompt else "-single"))
    if options.out.exists():
        load_labels(options.out)  # a malformed one is reported before anything is spent
    path = options.answers or options.out.with_name(f"{options.out.stem}.{judge}.answers.jsonl")
    asked = {"model": options.model, "mode": options.mode, "per_prompt": per_prompt,
             "max_tokens": max_tokens, "extra": options.extra}
    spent = Bill(_prices(options))
    client = connect(options.base_url, options.key_variable, options.timeout, options.attempts,
                     options.rpm)
    if scrubbed(client, public := json.dumps(asked)) != public:
        raise UserError("the key stands in the model's name or the extra fields; it belongs into "
                        "an environment variable only")
    with client, answers_file(path, asked) as file:
        open_ones = file.unanswered(chosen, scenarios, per_prompt is not None, spent)
        left = requests_about(open_ones, scenarios, per_prompt)
        if not _confirmed(options, left, max_tokens, spent):
            return 1
        ask_all(client, options.model, fields, left, file, spent, max_tokens, options.max_cost)
        _write_labels(options.out, judge, file.answers)
    print(f"answers in {path}; spent: {spent}")
    return 0


def _chosen(options: argparse.Namespace) -> list[Completion]:
    """The completions to judge, which are of one model."""
    chosen, name = load_completions(options.completions), options.completions.name
    models = sorted({completion.model for completion in chosen})
    if options.of is None and len(models) > 1:
        raise UserError(f"{name} has completions of {', '.join(models)}; choose one with --of")
    for option, attribute in (("of", "model"), ("round", "round")):
        wanted = getattr(options, option)
        known = sorted({getattr(completion, attribute) for completion in chosen})
        if wanted not in (None, *known):
            raise UserError(f"--{option} {wanted}: {name} has only {', '.join(known)}")
        chosen = [c for c in chosen if wanted in (None, getattr(c, attribute))]
    return chosen


def _prices(options: argparse.Namespace) -> tuple[float, float] | None:
    prices = (options.price_prompt, options.price_completion)
    if None not in prices:
        return prices
    if options.max_cost is not None or prices != (None, None):
        raise UserError("a cost needs both prices: --price-prompt and --price-completion, for a "
                        "million tokens each")
    return None


def _confirmed(
    options: argparse.Namespace, requests: Sequence[Request], max_tokens: int, spent: Bill
) -> bool:
    """Print the estimate; whether to start. Raises UserError if it passes the largest cost."""
    n = sum(len(request.completions) for request in requests)
    print(f"{n} completions to judge, {len(requests)} requests to {options.model}")
    if spent.prompt_tokens:
        print(f"spent in earlier runs: {spent}")
    estimate = most_they_cost(requests, spent, max_tokens, options.max_cost)
    print(f"estimated, at most: {estimate}")
    if options.yes or not requests:
        return True
    try:
        agreed = input("go on? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        agreed = False
    if not agreed:
        print("nothing was asked; answer y, or give --yes")
    return agreed


def _write_labels(out: Path, judge: str, answers: Sequence[Answer]) -> None:
    pairs = [pair for of in answers for pair in zip(of.completions, of.labels, strict=True)]
    labels = {id: label for id, label in pairs if label is not None}
    write_labels(out, judge, labels)
    counts = Counter(labels.values())
    print(f"{judge}: {''.join(f'{counts[label]} {label}, ' for label in sorted(counts))}"
          f"{len(pairs) - len(labels)} replies without a label; labels in {out}")


def _number(kind: type[int] | type[float], least: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = math.nan
        if not least <= number < math.inf:
            raise argparse.ArgumentTypeError(f"{text!r}: expected a number of at least {least:g}")
        return number

    return parse


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f'{text!r}: expected a JSON object such as {{"seed": 1}}')
    return found
