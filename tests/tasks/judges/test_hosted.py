"""The command `judge` against a scripted server on the loopback."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from scripted_server import Scripted

from deception_saes.__main__ import main
from deception_saes.errors import UserError
from deception_saes.tasks.completions import Completion, id_of, write_completions
from deception_saes.tasks.judges.chat_server import connect
from deception_saes.tasks.labels import LABELS, load_labels, write_labels
from deception_saes.tasks.scenarios import load_scenarios

KEY = "sk-very-secret+0123/456=="
N = 14
AT_ONCE = {"retry-after-ms": "1"}
PRICES = ("--price-prompt", "10", "--price-completion", "100")


@pytest.fixture
def work(tmp_path):
    """A folder with completions of two shipped scenarios, 7 of each, in turns."""
    scenarios = [scenario.id for scenario in load_scenarios()[:2]]
    write_completions([Completion(id_of(s, "R3", draw), "smollm2it", s, "R3", draw, 1.0, 0, True,
                                  f" words of {s} {draw}.")
                       for draw in range(N // 2) for s in scenarios], tmp_path / "c.csv")
    return tmp_path


@pytest.fixture
def key(monkeypatch):
    """The name of the variable that holds it."""
    monkeypatch.setenv("JUDGE_KEY", KEY)
    return "JUDGE_KEY"


def options(work, scripted, *more):
    return ["judge", "--base-url", scripted.url, "--model", "org/m", "--attempts", "2", "--yes",
            "--completions", str(work / "c.csv"), "--out", str(work / "labels.csv"), *more]


def right(_, message):
    """A judge that labels each reply by its number."""
    numbers = [int(line.rsplit(" ", 1)[1].strip('."')) for line in message.splitlines()
               if " words of " in line]
    if "Reply with one line" in message:
        return f"Label: {LABELS[numbers[0] % 3]}"
    return "\n".join(f"{i}: {LABELS[n % 3]}" for i, n in enumerate(numbers, 1))


def all_right(work, name="m-single"):
    labels = load_labels(work / "labels.csv")[name]
    return len(labels) == N and all(label == LABELS[int(id[-3:]) % 3]
                                    for id, label in labels.items())


def records(work, name="m-single"):
    lines = (work / f"labels.{name}.answers.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def in_a_process(arguments):
    return subprocess.Popen([sys.executable, "-m", "deception_saes", *arguments],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("mode", "name", "requests"), [
    (("--mode", "individual"), "m-single", N),
    (("--mode", "batch", "--per-prompt", "3"), "m-batch", 6),
    (("--mode", "batch", "--judge", "mine"), "mine", 2),
])
def test_judging(work, mode, name, requests, capsys):
    write_labels(work / "labels.csv", "claude-1", {"x": "honest"})
    with Scripted(right) as scripted:
        for asked in (requests, 0):  # a finished run asks nothing again
            assert main(options(work, scripted, *mode)) == 0
            out = capsys.readouterr().out
            assert f"{asked} requests" in out
            assert "4 ambiguous, 4 deceptive, 6 honest, 0 replies without a label" in out
            assert f"spent: {100 * requests} tokens of prompts, {5 * requests} of replies" in out
    assert len(scripted.asked) == requests
    assert all_right(work, name)
    assert load_labels(work / "labels.csv")["claude-1"] == {"x": "honest"}


def test_a_question_is_a_chat_completion_of_the_given_fields(work):
    extra = '{"temperature": null, "max_tokens": null, "max_completion_tokens": 9, "seed": 3}'
    with Scripted(right) as scripted:
        assert main(options(work, scripted, "--extra", extra)) == 0
    for body in scripted.asked:
        assert [message["role"] for message in body.pop("messages")] == ["user"]
        assert body == {"model": "org/m", "max_completion_tokens": 9, "seed": 3}


def test_a_reply_without_a_label_is_kept_and_not_asked_for_again(work, capsys):
    with Scripted(lambda n, message: "I cannot say." if n == 4 else right(n, message)) as scripted:
        for _ in range(2):
            assert main(options(work, scripted)) == 0
            assert "1 replies without a label" in capsys.readouterr().out
    assert len(scripted.asked) == N
    [without] = [r for r in records(work)[1:] if r["labels"] == [None]]
    assert without["reply"] == "I cannot say."
    labelled = load_labels(work / "labels.csv")["m-single"]
    assert labelled.keys().isdisjoint(without["completions"])
    assert len(labelled) == N - 1


@pytest.mark.parametrize("content", [b'""', b"null"])
def test_an_empty_reply_without_counts_is_a_reply(work, content, capsys):
    body = b'{"choices": [{"message": {"content": ' + content + b"}}]}"
    with Scripted(lambda *_: (200, {}, body)) as scripted:
        assert main(options(work, scripted, *PRICES)) == 0
    assert f"{N} replies without a label" in capsys.readouterr().out
    assert {(r["reply"], r["prompt_tokens"]) for r in records(work)[1:]} == {("", None)}


@pytest.mark.parametrize("mode", [(), ("--mode", "batch", "--per-prompt", "2")])
def test_trouble_that_passes_is_asked_again(work, mode):
    troubles = {1: (429, {"Retry-After": "0.01"}, b"slow down"), 3: (500, AT_ONCE, b"<html>"),
                5: (529, AT_ONCE, b""), 7: "DROP", 9: "HALF", 11: (408, AT_ONCE, b""), 13: "HANG"}
    with Scripted(lambda n, m: troubles.get(n) or right(n, m)) as scripted:
        assert main(options(work, scripted, "--timeout", "0.5", *mode)) == 0
    assert all_right(work, "m-batch" if mode else "m-single")
    assert set(scripted.answered.values()) == {1}


@pytest.mark.parametrize(("trouble", "requests", "named"), [
    ((500, AT_ONCE, b"broken " * 1000), 2, "HTTP 500: broken broken"),
    ((401, {}, b"no such key"), 1, "HTTP 401: no such key"),
    ((404, {}, b"no such model"), 1, "HTTP 404: no such model"),
    ((429, {"Retry-After": "86400"}, b"tomorrow"), 1, "HTTP 429: tomorrow"),
    ((200, {}, b"<html>"), 1, "no chat completion"),
    ((200, {"content-type": "application/json"}, b'{"choices": [{"mess'), 1, "no chat completion"),
    ((200, {}, b"{}"), 1, "no chat completion"),
    ((200, {}, b'{"choices": []}'), 1, "no chat completion"),
    ((200, {}, b'{"choices": [{"message": {"content": {"a": 1}}}]}'), 1, "no chat completion"),
    ((200, {"content-type": "application/json"}, b"[" * 100_000), 1, "no chat completion"),
])
def test_trouble_that_stays_ends_the_run_and_keeps_the_answers(work, trouble, requests, named,
                                                               capsys):
    with Scripted(lambda n, m: right(n, m) if n < 3 else trouble) as scripted:
        assert main(options(work, scripted)) == 1
    assert len(scripted.asked) == 2 + requests
    error = capsys.readouterr().err.splitlines()[-1]
    assert scripted.url in error
    assert named in error
    assert len(error) < 600
    assert len(records(work)) == 1 + 2
    assert not (work / "labels.csv").exists()


def test_a_redirect_is_not_followed(work, key, capsys):
    with Scripted(right) as other:
        there = {"location": f"{other.url}/chat/completions"}
        with Scripted(lambda *_: (307, there, b"")) as scripted:
            assert main(options(work, scripted, "--key-variable", key)) == 1
    assert other.asked == []
    assert "HTTP 307" in capsys.readouterr().err


@pytest.mark.parametrize("mode", [(), ("--mode", "batch", "--per-prompt", "2")])
def test_a_server_that_dies_and_comes_back(work, mode):
    """Twice, once while it answers: nothing is lost and nothing judged twice."""
    answered, port = Counter(), 0
    for dies_at in (1, 3, 10**9):
        with Scripted(lambda n, m, dies_at=dies_at: "DIE" if n == dies_at else right(n, m),
                      port) as scripted:
            code = main(options(work, scripted, *mode))
        port = scripted.port
        answered += scripted.answered
        assert code == int(dies_at < 10**9)
    assert set(answered.values()) == {1}
    name, requests = ("m-batch", 8) if mode else ("m-single", N)
    assert len(answered) == requests
    assert all_right(work, name)
    assert len(records(work, name)) == 1 + requests


def test_a_judging_process_that_is_killed_resumes_where_it_was(work):
    """Killed while it waits for its sixth answer; then the same command again."""
    running = []

    def script(number, message):
        if number == 6:
            running[0].send_signal(signal.SIGKILL)
            running[0].wait()
            return "DROP"
        return right(number, message)

    with Scripted(script) as scripted:
        running.append(in_a_process(options(work, scripted)))
        running[0].communicate(timeout=60)
        assert running[0].returncode == -signal.SIGKILL
        assert len(records(work)) == 1 + 5
        assert main(options(work, scripted)) == 0
    assert set(scripted.answered.values()) == {1}
    assert len(scripted.answered) == N
    assert all_right(work)


@pytest.mark.parametrize("kept", [1, 20, 0.5, -1])
def test_a_line_that_was_not_finished_is_judged_again(work, kept):
    """The disk holds a beginning of the last line, or of the first."""
    with Scripted(right) as scripted:
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
    assert all_right(work)
    assert len(records(work)) == 1 + N


ANSWER = {"completions": ["a"], "labels": ["honest"], "prompt_sha256": "", "reply": "",
          "prompt_tokens": None, "completion_tokens": None}


@pytest.mark.parametrize("line", [b"not json", b"[]", b"{}", b"\xff", *(
    json.dumps(ANSWER | changed).encode() for changed in (
        {"labels": []}, {"labels": ["unclear"]}, {"labels": 3}, {"prompt_tokens": "3"},
        {"note": ""}))])
def test_a_damaged_answers_file_is_an_error(work, line, capsys):
    with Scripted(right) as scripted:
        assert main(options(work, scripted)) == 0
        path = work / "labels.m-single.answers.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([*lines[:2], line + b"\n", *lines[2:]]))
        assert main(options(work, scripted)) == 1
    assert f"{path}, line 3" in capsys.readouterr().err
    assert len(scripted.asked) == N


def test_answers_to_other_questions_are_not_mixed_in(work, capsys):
    path = work / "a.jsonl"
    with Scripted(right) as scripted:
        more = ("--answers", str(path))
        assert main(options(work, scripted, *more)) == 0
        for other in (("--model", "other"), ("--mode", "batch"), ("--max-tokens", "99"),
                      ("--extra", '{"seed": 1}')):
            assert main([*options(work, scripted, *more), *other]) == 1
            assert str(path) in capsys.readouterr().err
        text = (work / "c.csv").read_text()
        (work / "c.csv").write_text(text.replace(" words of", " other words of", 1))
        assert main(options(work, scripted, *more)) == 1
        assert "another text of" in capsys.readouterr().err
    assert len(scripted.asked) == N


def test_a_batch_run_of_some_is_widened_to_all(work):
    everyone = (work / "c.csv").read_text(encoding="utf-8")
    some = "".join(everyone.splitlines(keepends=True)[:8])  # the header and 7, in turns
    with Scripted(right) as scripted:
        for text in (some, everyone):
            (work / "c.csv").write_text(text, encoding="utf-8")
            assert main(options(work, scripted, "--mode", "batch", "--per-prompt", "3")) == 0
    assert all_right(work, "m-batch")


def test_without_a_key_none_is_sent(work):
    with Scripted(right) as scripted:
        assert main(options(work, scripted)) == 0
    assert scripted.headers
    assert not any("authorization" in headers for headers in scripted.headers)


def test_two_runs_do_not_share_an_answers_file(work):
    second = []

    def script(number, message):
        if number == 3:  # a second run, while the first one waits
            process = in_a_process(options(work, scripted))
            _, error = process.communicate(timeout=60)
            second.append((process.returncode, error))
        return right(number, message)

    with Scripted(script) as scripted:
        assert main(options(work, scripted)) == 0
    [(code, error)] = second
    assert code == 1
    assert "in use by another run" in error
    assert len(scripted.asked) == N


def test_the_estimate_stands_before_the_first_request_and_is_asked_about(work, capsys, monkeypatch):
    with Scripted(right) as scripted:
        arguments = [a for a in options(work, scripted, *PRICES) if a != "--yes"]
        for replied in ("n", "", EOFError):
            def reply(prompt, replied=replied):
                if replied is EOFError:
                    raise EOFError
                return replied

            monkeypatch.setattr("builtins.input", reply)
            assert main(arguments) == 1
        assert scripted.asked == []
        capsys.readouterr()
        monkeypatch.setattr("builtins.input", lambda _: "y")
        assert main(arguments) == 0
    estimate, spent = (line for line in capsys.readouterr().out.splitlines() if "tokens of" in line)
    prompts = sum(20 + len(body["messages"][0]["content"].encode()) // 3 for body in scripted.asked)
    assert estimate.endswith(f"{prompts} tokens of prompts, {N * 32} of replies; "
                             f"{(prompts * 10 + N * 32 * 100) / 1e6:.4f}")
    assert spent.endswith(f"{N * 100} tokens of prompts, {N * 5} of replies; "
                          f"{N * (100 * 10 + 5 * 100) / 1e6:.4f}")


def test_a_largest_cost_below_the_estimate_starts_nothing(work, capsys):
    with Scripted(right) as scripted:
        assert main(options(work, scripted, *PRICES, "--max-cost", "0.01")) == 1
    assert "0.0100" in capsys.readouterr().err
    assert scripted.asked == []


def test_a_server_that_counts_more_than_estimated_is_stopped_at_the_largest_cost(work, capsys):
    """Each answer costs 0.101, where 0.007 was estimated: after the fifth no request is sent."""
    body = {"choices": [{"message": {"content": "Label: honest"}}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 1000}}
    with Scripted(lambda *_: (200, {}, json.dumps(body).encode())) as scripted:
        arguments = options(work, scripted, *PRICES, "--max-cost", "0.5")
        assert main(arguments) == 1
        assert "0.5050 is spent" in capsys.readouterr().err
        assert main(arguments) == 1  # what earlier runs spent counts
        assert len(scripted.asked) == 5
        assert main([*arguments, "--max-cost", "2"]) == 0
    assert "500 tokens of prompts" in capsys.readouterr().out
    assert len(scripted.asked) == N


@pytest.mark.parametrize(("more", "named"), [
    (("--max-cost", "1"), "--price-prompt"),
    (("--price-prompt", "1"), "--price-completion"),
    (("--price-prompt", "-1", "--price-completion", "1"), "'-1'"),
    ((*PRICES, "--max-cost", "nan"), "'nan'"),
    (("--mode", "batch", "--per-prompt", "0"), "'0'"),
    (("--of", "llama"), "smollm2it"),
    (("--round", "R4"), "R3"),
    (("--completions", "missing.csv"), "missing.csv"),
    (("--extra", '{"max_tokens": null}'), "None"),
    (("--extra", "3"), "'3'"),
    (("--max-tokens", "-5"), "'-5'"),
    (("--attempts", "0"), "'0'"),
    (("--rpm", "0"), "'0'"),
    (("--timeout", "soon"), "'soon'"),
    (("--key-variable", "NOT_SET_ANYWHERE"), "environment variable"),
])
def test_bad_options_are_one_message_and_ask_nothing(work, more, named, capsys):
    with Scripted(right) as scripted:
        try:
            code = main(options(work, scripted, *more))
        except SystemExit as error:  # argparse
            code = error.code
    assert code in (1, 2)
    assert named in capsys.readouterr().err.splitlines()[-1]
    assert scripted.asked == []


def test_models_and_rounds_are_not_mixed(work, capsys):
    header, *lines = (work / "c.csv").read_text().splitlines()
    (work / "c.csv").write_text("\n".join([
        header, *lines, *(line.replace("R3", "R1") for line in lines),
        lines[0].replace("smollm2it", "llama")]) + "\n")
    with Scripted(right) as scripted:
        assert main(options(work, scripted, "--round", "R3")) == 1
        assert "llama, smollm2it" in capsys.readouterr().err
        assert main(options(work, scripted, "--round", "R3", "--of", "smollm2it")) == 0
    assert len(scripted.asked) == N
    assert all_right(work)
    assert all("-R3-" in id for id in load_labels(work / "labels.csv")["m-single"])


def test_a_malformed_labels_file_is_reported_before_anything_is_asked(work, capsys):
    (work / "labels.csv").write_text("completion,judge\n")
    with Scripted(right) as scripted:
        assert main(options(work, scripted)) == 1
    assert "labels.csv, row 1" in capsys.readouterr().err
    assert scripted.asked == []


def test_requests_keep_the_pace_repeated_ones_too(work):
    starts = []

    def script(number, message):
        starts.append(time.monotonic())
        return (500, AT_ONCE, b"") if number == 2 else right(number, message)

    with Scripted(script) as scripted:
        assert main(options(work, scripted, "--rpm", "1200")) == 0
    assert len(starts) == N + 1
    assert starts[-1] - starts[0] > 0.05 * N - 0.02


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
        return right(number, message)

    with Scripted(script) as scripted:
        assert main(options(work, scripted)) == 130
        assert "interrupted" in capsys.readouterr().err
        assert 1 + 3 <= len(records(work)) <= 1 + 4
        assert main(options(work, scripted)) == 0
    assert all_right(work)


@pytest.mark.parametrize("dies", [False, True])
def test_the_key_is_in_nothing_that_is_written(work, dies):
    """The process's output and every file, though the server tells the key back."""
    def script(number, message):
        if number == 3:
            return 500, AT_ONCE, KEY.encode()
        if number == 5 and dies:
            return 401, {"x": KEY}, f"wrong key: {KEY}".encode()
        encoded = KEY.replace("/", "%2F").replace("+", "%2B").replace("=", "%3D")
        return f"{right(number, message)}\n{KEY}\n{encoded}"

    with Scripted(script) as scripted:
        ran = subprocess.run(
            [sys.executable, "-X", "dev", "-m", "deception_saes",
             *options(work, scripted, "--key-variable", "JUDGE_KEY")],
            env={**os.environ, "JUDGE_KEY": KEY, "OPENAI_LOG": "debug"}, capture_output=True,
            timeout=60, check=False)
    assert ran.returncode == int(dies)
    assert {headers["authorization"] for headers in scripted.headers} == {f"Bearer {KEY}"}
    files = [path for path in work.rglob("*") if path.is_file()]
    assert len(files) >= (2 if dies else 3)
    for content in (ran.stdout, ran.stderr, *(path.read_bytes() for path in files)):
        assert b"very-secret" not in content
    if not dies:
        assert all_right(work)


def test_nothing_that_is_meant_for_another_server_is_sent(work, monkeypatch):
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"X-Other: {KEY}")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with Scripted(right) as scripted:
        assert main(options(work, scripted)) == 0
    assert all(KEY not in value for headers in scripted.headers for value in headers.values())


@pytest.mark.parametrize("more", [("--model", f"m-{KEY}"), ("--extra", f'{{"api_key": "{KEY}"}}')])
def test_the_key_is_not_to_stand_in_another_option(work, key, more, capsys):
    with Scripted(right) as scripted:
        assert main(options(work, scripted, "--key-variable", key, *more)) == 1
    assert "very-secret" not in str(capsys.readouterr())
    assert scripted.asked == []


@pytest.mark.parametrize("value", ["", "short", f"{KEY}\n", f"{KEY} ", f"{KEY}\r\nX: y",
                                   "schlüssel1"])
def test_what_is_no_key_is_not_repeated(monkeypatch, value):
    monkeypatch.setenv("JUDGE_KEY", value)
    with pytest.raises(UserError) as caught:
        connect("http://127.0.0.1:1/v1", "JUDGE_KEY")
    assert not value or value.strip() not in str(caught.value)


def test_a_key_given_for_the_name_is_not_repeated():
    with pytest.raises(UserError) as caught:
        connect("http://127.0.0.1:1/v1", "AIzaSyVerySecret")
    assert "AIza" not in str(caught.value)


@pytest.mark.parametrize("url", [
    f"https://{KEY}@host/v1", f"https://user:{KEY}@host/v1", f"https://host/v1?key={KEY}",
    f"https://host/{KEY}/v1", "https://host/v1?version=1", "http://host.example/v1",
    "http://10.0.0.1:8000/v1", "http://localhost.example/v1", "http://127.0.0.1.example/v1",
    "ftp://host/v1", "host/v1", "", "http:///v1", "http://[::1", "http://host:99999/v1",
])
def test_a_url_that_would_give_the_key_away_or_is_none(key, url):
    with pytest.raises(UserError) as caught:
        connect(url, key)
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.3.2.1/v1", "http://[::1]:8/v1", "http://localhost:8/v1",
                                 "https://host.example/v1"])
def test_a_key_may_go_to_this_machine_or_encrypted(key, url):
    with connect(url, key) as client:
        assert KEY not in repr(client)
