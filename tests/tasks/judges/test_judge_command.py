import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from scripted_server import Scripted

from deception_saes.__main__ import main
from deception_saes.tasks.completions import Completion, id_of, write_completions
from deception_saes.tasks.judges.server import ChatServer
from deception_saes.tasks.labels import LABELS, load_labels, write_labels
from deception_saes.tasks.scenarios import load_scenarios

KEY = "sk-very-secret-0123456789"
N = 14


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    def impatient(spec):
        return ChatServer(spec, sleep=lambda _: None)

    monkeypatch.setattr("deception_saes.tasks.judges.command.ChatServer", impatient)


@pytest.fixture
def work(tmp_path):
    """A folder with completions of two shipped scenarios, 7 of each, in turns."""
    scenarios = [scenario.id for scenario in load_scenarios()[:2]]
    write_completions([Completion(id_of(s, "R3", draw), "smollm2it", s, "R3", draw, 1.0, 0, True,
                                  f" words of {s} {draw}.")
                       for draw in range(N // 2) for s in scenarios], tmp_path / "c.csv")
    return tmp_path


def options(work, scripted, *more):
    return ["judge", "--base-url", scripted.url, "--model", "org/m", "--attempts", "2", "--yes",
            "--completions", str(work / "c.csv"), "--out", str(work / "labels.csv"), *more]


def right(message):
    """The label that this judge gives each reply: by its number."""
    numbers = [int(line.rsplit(" ", 1)[1].strip('."')) for line in message.splitlines()
               if " words of " in line]
    if "Reply with one line" in message:
        return f"Label: {LABELS[numbers[0] % 3]}"
    return "\n".join(f"{i}: {LABELS[n % 3]}" for i, n in enumerate(numbers, 1))


def judged(work, name="m-single"):
    return load_labels(work / "labels.csv")[name]


def all_right(labels):
    return len(labels) == N and all(label == LABELS[int(id[-3:]) % 3]
                                    for id, label in labels.items())


def records(work, name="m-single"):
    lines = (work / f"labels.{name}.answers.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(("mode", "name", "requests"), [
    (("--mode", "individual"), "m-single", N),
    (("--mode", "batch", "--per-prompt", "3"), "m-batch", 6),
    (("--mode", "batch", "--judge", "mine"), "mine", 2),
])
def test_judging(work, mode, name, requests, capsys):
    with Scripted(lambda _, message: right(message)) as scripted:
        assert main(options(work, scripted, *mode)) == 0
    assert all_right(judged(work, name))
    assert len(scripted.asked) == requests
    out = capsys.readouterr().out
    assert out.startswith(f"{N} completions to judge, {requests} requests to org/m\n")
    assert "no prices given" in out
    assert f"{name}: 4 ambiguous, 4 deceptive, 6 honest, 0 replies without a label" in out
    assert f"spent: {100 * requests} tokens of prompts, {5 * requests} of replies" in out


def test_a_finished_run_asks_nothing_again(work):
    with Scripted(lambda _, message: right(message)) as scripted:
        for _ in range(2):
            assert main(options(work, scripted)) == 0
    assert len(scripted.asked) == N
    assert all_right(judged(work))


def test_other_judges_labels_stay(work):
    write_labels(work / "labels.csv", "claude-1", {"x": "honest"})
    with Scripted(lambda _, message: right(message)) as scripted:
        assert main(options(work, scripted)) == 0
    assert load_labels(work / "labels.csv")["claude-1"] == {"x": "honest"}
    assert all_right(judged(work))


def test_a_reply_without_a_label_is_kept_as_such(work, capsys):
    with Scripted(lambda n, message: "I cannot say." if n == 4 else right(message)) as scripted:
        assert main(options(work, scripted)) == 0
        assert main(options(work, scripted)) == 0
    assert len(scripted.asked) == N
    assert len(judged(work)) == N - 1
    without = [r for r in records(work)[1:] if r["labels"] == [None]]
    assert [r["reply"] for r in without] == ["I cannot say."]
    assert not set(without[0]["completions"]) & judged(work).keys()
    assert "1 replies without a label" in capsys.readouterr().out


@pytest.mark.parametrize("mode", [(), ("--mode", "batch", "--per-prompt", "2")])
def test_a_server_that_fails_now_and_then(work, mode):
    troubles = [(429, {"retry-after": "0"}, b""), (500, {}, b""), "DROP", "HALF"]
    with Scripted(lambda n, m: troubles[n // 2 % 4] if n % 2 else right(m)) as scripted:
        assert main(options(work, scripted, *mode)) == 0
    assert all_right(judged(work, "m-batch" if mode else "m-single"))
    assert set(scripted.answered.values()) == {1}


@pytest.mark.parametrize("mode", [(), ("--mode", "batch", "--per-prompt", "2")])
def test_a_server_that_dies_and_comes_back(work, mode, capsys):
    """Three times, once while it answers: nothing is lost and nothing judged twice."""
    answered, port, runs = Counter(), 0, 0
    for dies_at in (1, 3, 2, 10**9):
        with Scripted(lambda n, m, dies_at=dies_at: "DIE" if n == dies_at else right(m),
                      port) as scripted:
            code = main(options(work, scripted, *mode))
        port, runs = scripted.port, runs + 1
        answered += scripted.answered
        error = capsys.readouterr().err
        if dies_at < 10**9:
            assert code == 1
            assert "run the same command again to go on" in error
            assert not (work / "labels.csv").exists()
    assert code == 0
    assert set(answered.values()) == {1}
    name, requests = ("m-batch", 8) if mode else ("m-single", N)
    assert len(answered) == requests
    assert all_right(judged(work, name))
    assert len(records(work, name)) == 1 + requests


def in_a_process(arguments):
    return subprocess.Popen([sys.executable, "-m", "deception_saes", *arguments],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_judging_process_that_is_killed_goes_on_where_it_was(work):
    """Killed while it waits for its sixth answer; then the same command again."""
    running = []

    def script(number, message):
        if number == 6:
            running[0].send_signal(signal.SIGKILL)
            running[0].wait()
            return "DROP"
        return right(message)

    with Scripted(script) as scripted:
        running.append(in_a_process(options(work, scripted)))
        _, _ = running[0].communicate(timeout=60)
        assert running[0].returncode == -signal.SIGKILL
        assert len(records(work)) == 1 + 5
        again = in_a_process(options(work, scripted))
        out, _ = again.communicate(timeout=60)
    assert again.returncode == 0
    assert out.startswith(f"{N - 5} completions to judge")
    assert set(scripted.answered.values()) == {1}
    assert len(scripted.answered) == N
    assert all_right(judged(work))


@pytest.mark.parametrize("kept", [1, 20, 0.5, -1])
def test_a_line_that_was_not_finished_is_judged_again(work, kept):
    """The disk holds a beginning of the last line, or of the first."""
    with Scripted(lambda _, message: right(message)) as scripted:
        assert main(options(work, scripted)) == 0
        path = work / "labels.m-single.answers.jsonl"
        *lines, last = path.read_bytes().splitlines(keepends=True)
        cut = int(len(last) * kept) if isinstance(kept, float) else kept
        path.write_bytes(b"".join(lines) + last[:cut])
        assert main(options(work, scripted)) == 0
        assert len(scripted.asked) == N + 1
        path.write_bytes(lines[0][:10])
        assert main(options(work, scripted)) == 0
        assert len(scripted.asked) == 2 * N + 1
    assert all_right(judged(work))
    assert len(records(work)) == 1 + N


@pytest.mark.parametrize(("line", "said"), [
    (b"not json\n", "line 3: not a JSON object"), (b"[]\n", "line 3: not a JSON object"),
    (b"{}\n", "line 3: not an answer"), (b"\xff\n", "line 3: not a JSON object"),
])
def test_a_damaged_answers_file_is_an_error(work, line, said, capsys):
    with Scripted(lambda _, message: right(message)) as scripted:
        assert main(options(work, scripted)) == 0
        path = work / "labels.m-single.answers.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([*lines[:2], line, *lines[2:]]))
        assert main(options(work, scripted)) == 1
    assert said in capsys.readouterr().err
    assert len(scripted.asked) == N


def test_answers_to_other_questions_are_not_mixed_in(work, capsys):
    with Scripted(lambda _, message: right(message)) as scripted:
        more = ("--answers", str(work / "a.jsonl"))
        assert main(options(work, scripted, *more)) == 0
        for other in (("--model", "other"), ("--mode", "batch"), ("--max-tokens", "99"),
                      ("--extra", '{"seed": 1}')):
            assert main([*options(work, scripted, *more), *other]) == 1
            assert "holds the answers to other questions" in capsys.readouterr().err
        text = (work / "c.csv").read_text()
        (work / "c.csv").write_text(text.replace(" words of", " other words of", 1))
        assert main(options(work, scripted, *more)) == 1
        assert "about another text of" in capsys.readouterr().err
    assert len(scripted.asked) == N


def test_two_runs_do_not_share_an_answers_file(work, capsys):
    codes = []

    def script(number, message):
        if number == 3:  # a second run, while the first one waits
            second = in_a_process(options(work, scripted))
            codes.append((second.wait(60), second.stderr.read()))
            second.stdout.close()
            second.stderr.close()
        return right(message)

    with Scripted(script) as scripted:
        assert main(options(work, scripted)) == 0
    assert codes[0][0] == 1
    assert "is in use by another run" in codes[0][1]
    assert len(scripted.asked) == N


PRICES = ("--price-prompt", "10", "--price-completion", "100")


def test_the_estimate_stands_before_the_first_request_and_is_asked_about(work, capsys, monkeypatch):
    with Scripted(lambda _, message: right(message)) as scripted:
        arguments = [a for a in options(work, scripted, *PRICES) if a != "--yes"]
        for said in ("n", "", EOFError):
            def answer(prompt, said=said):
                if said is EOFError:
                    raise EOFError
                return said

            monkeypatch.setattr("builtins.input", answer)
            assert main(arguments) == 1
            assert "nothing was asked" in capsys.readouterr().out
        assert scripted.asked == []
        monkeypatch.setattr("builtins.input", lambda _: "y")
        assert main(arguments) == 0
    estimate, spent = (line for line in capsys.readouterr().out.splitlines() if "tokens of" in line)
    prompts = sum(20 + len(body["messages"][0]["content"].encode()) // 3 for body in scripted.asked)
    assert estimate == (f"estimated, at most: {prompts} tokens of prompts, {N * 32} of replies; "
                        f"{(prompts * 10 + N * 32 * 100) / 1e6:.4f}")
    assert spent == (f"spent: {N * 100} tokens of prompts, {N * 5} of replies; "
                     f"{N * (100 * 10 + 5 * 100) / 1e6:.4f}")


def test_a_largest_cost_below_the_estimate_starts_nothing(work, capsys):
    with Scripted(lambda _, message: right(message)) as scripted:
        assert main(options(work, scripted, *PRICES, "--max-cost", "0.01")) == 1
    assert "more than the largest cost, 0.0100" in capsys.readouterr().err
    assert scripted.asked == []


def test_a_server_that_counts_more_than_estimated_is_stopped_at_the_largest_cost(work, capsys):
    """Each answer costs 0.101, where 0.007 was estimated: after the fifth no request is sent."""
    body = {"choices": [{"message": {"content": "Label: honest"}}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 1000}}

    def script(*_):
        return 200, {}, json.dumps(body).encode()

    with Scripted(script) as scripted:
        arguments = options(work, scripted, *PRICES, "--max-cost", "0.5")
        assert main(arguments) == 1
        assert "0.5050 is spent" in capsys.readouterr().err
        assert main(arguments) == 1  # what earlier runs spent counts
        assert len(scripted.asked) == 5
        assert main([*arguments, "--max-cost", "2"]) == 0
    assert "spent in earlier runs: 500 tokens" in capsys.readouterr().out
    assert len(scripted.asked) == N


@pytest.mark.parametrize(("more", "said"), [
    (("--max-cost", "1"), "a cost needs both prices"),
    (("--price-prompt", "1"), "a cost needs both prices"),
    (("--price-prompt", "-1", "--price-completion", "1"), "-1.0 is no amount of money"),
    ((*PRICES, "--max-cost", "nan"), "nan is no amount of money"),
    (("--mode", "batch", "--per-prompt", "0"), "a prompt of 0 completions"),
    (("--of", "llama"), "no completions of llama, only of smollm2it"),
    (("--round", "R4"), "no round R4, only R3"),
    (("--completions", "missing.csv"), "missing.csv"),
    (("--extra", '{"max_tokens": null}'), "the length of a reply is None"),
    (("--max-tokens", "-5"), "max_tokens is -5"),
    (("--key-variable", "NOT_SET_ANYWHERE"), "is not set"),
])
def test_bad_options_are_one_message(work, more, said, capsys):
    with Scripted(lambda _, message: right(message)) as scripted:
        assert main(options(work, scripted, *more)) == 1
    assert said in capsys.readouterr().err
    assert scripted.asked == []


def test_completions_of_several_models_are_not_mixed(work, capsys):
    lines = (work / "c.csv").read_text().splitlines()
    (work / "c.csv").write_text("\n".join([*lines, lines[1].replace("smollm2it", "llama")]) + "\n")
    with Scripted(lambda _, message: right(message)) as scripted:
        assert main(options(work, scripted)) == 1
        assert "completions of llama, smollm2it; say with --of" in capsys.readouterr().err
        assert main(options(work, scripted, "--of", "smollm2it")) == 0
    assert all_right(judged(work))


def test_one_round_only(work):
    lines = (work / "c.csv").read_text().splitlines()
    more = [line.replace("R3", "R1") for line in lines[1:]]
    (work / "c.csv").write_text("\n".join([*lines, *more]) + "\n")
    with Scripted(lambda _, message: right(message)) as scripted:
        assert main(options(work, scripted, "--round", "R3")) == 0
    assert len(scripted.asked) == N
    assert all_right(judged(work))
    assert all("-R3-" in id for id in judged(work))


def test_a_malformed_labels_file_is_told_of_before_anything_is_asked(work, capsys):
    (work / "labels.csv").write_text("completion,judge\n")
    with Scripted(lambda _, message: right(message)) as scripted:
        assert main(options(work, scripted)) == 1
    assert "labels.csv, row 1" in capsys.readouterr().err
    assert scripted.asked == []


@pytest.fixture
def interrupts_are_heard():
    """A process that a shell started in the background ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts_are_heard")
def test_ctrl_c_keeps_what_was_answered(work, capsys):
    def script(number, message):
        if number == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return right(message)

    with Scripted(script) as scripted:
        assert main(options(work, scripted)) == 130
        assert "interrupted" in capsys.readouterr().err
        assert 1 + 3 <= len(records(work)) <= 1 + 4
        assert main(options(work, scripted)) == 0
    assert all_right(judged(work))


@pytest.mark.parametrize("dies", [False, True])
def test_the_key_is_in_nothing_that_is_written(work, dies):
    """The process's output and every file, though the server tells the key back."""
    environment = {**os.environ, "JUDGE_KEY": KEY}

    def script(number, message):
        if number == 3:
            return 500, {"retry-after": "0"}, KEY.encode()
        if number == 5 and dies:
            return 401, {}, f"wrong key: {KEY}".encode()
        return f"{right(message)}\n{KEY}"

    with Scripted(script) as scripted:
        ran = subprocess.run(
            [sys.executable, "-X", "dev", "-m", "deception_saes",
             *options(work, scripted, "--key-variable", "JUDGE_KEY")],
            env=environment, capture_output=True, timeout=60, check=False)
    assert ran.returncode == int(dies)
    assert {headers["Authorization"] for headers in scripted.headers} == {f"Bearer {KEY}"}
    files = [path for path in Path(work).rglob("*") if path.is_file()]
    assert len(files) >= (2 if dies else 3)
    for content in (ran.stdout, ran.stderr, *(path.read_bytes() for path in files)):
        assert b"very-secret" not in content
    if not dies:
        assert all_right(judged(work))
