import logging
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from scripted_server import Scripted

from deception_saes.tasks.judges.key import JudgeError, Key, key_from_environment, loopback
from deception_saes.tasks.judges.server import ChatServer, ServerSpec

KEY = "sk-very-secret+0123/456=="


class Sleeps(list):
    """Stands in for `time.sleep`."""

    __call__ = list.append


@pytest.fixture
def ask():
    """Ask once; the reply, the server and the seconds slept."""
    def run(script, message="a question", **options):
        slept = Sleeps()
        options.setdefault("timeout", 5)
        with Scripted(script) as scripted:
            spec = ServerSpec(scripted.url, "judge-model", 32, **options)
            with ChatServer(spec, sleep=slept) as server:
                try:
                    return server.ask(message), scripted, slept
                except JudgeError as error:
                    return str(error), scripted, slept

    return run


def test_a_question_is_a_chat_completion(ask):
    reply, scripted, slept = ask(lambda *_: "Label: honest", extra={"temperature": None, "seed": 3})
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == ("Label: honest", 100, 5)
    assert scripted.asked == [{"model": "judge-model", "max_tokens": 32, "seed": 3,
                               "messages": [{"role": "user", "content": "a question"}]}]
    assert "Authorization" not in {name.title() for name in scripted.headers[0]}
    assert slept == []


@pytest.mark.parametrize("trouble", [
    (429, {}, b"slow down"), (500, {}, b"{}"), (502, {}, b"<html>"), (503, {}, b""), (408, {}, b""),
    (529, {}, b"overloaded"), "DROP", "HALF", "HANG", "DRIP",
    (200, {}, b"<html>not json"), (200, {}, b"{}"), (200, {}, b'{"choices": []}'),
    (200, {}, b'{"choices": [{"message": {"content": {"a": 1}}}]}'), (200, {}, b"[" * 100_000),
    (200, {"content-encoding": "gzip"}, b"no gzip"), (200, {}, b"x" * 5_000_000),
])
def test_trouble_that_passes_is_asked_again(ask, trouble):
    reply, scripted, slept = ask(lambda number, _: trouble if number <= 2 else "Label: honest",
                                 timeout=0.4 if trouble in ("HANG", "DRIP") else 5)
    assert reply.text == "Label: honest"
    assert len(scripted.asked) == 3
    assert len(slept) == 2
    assert 1 <= slept[0] <= 2
    assert 2 <= slept[1] <= 3


def test_trouble_that_does_not_pass_ends_after_the_attempts(ask):
    error, scripted, slept = ask(lambda *_: (500, {}, b"broken " * 1000), attempts=4)
    assert "gave no answer in 4 attempts, last: HTTP 500: broken broken" in error
    assert "run the same command again" in error
    assert len(error) < 600
    assert (len(scripted.asked), len(slept)) == (4, 3)


def test_a_server_that_is_not_there():
    with Scripted(None) as scripted:
        pass
    spec = ServerSpec(scripted.url, "m", 32, attempts=2)
    with (ChatServer(spec, sleep=Sleeps()) as server,
          pytest.raises(JudgeError, match="gave no answer in 2 attempts, last: ConnectError")):
        server.ask("?")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 302])
def test_a_refusal_is_not_asked_again(ask, status):
    error, scripted, slept = ask(
        lambda *_: (status, {"location": "http://127.0.0.1:1/"}, b"no such model"))
    assert f"refused the request, HTTP {status}: no such model" in error
    assert (len(scripted.asked), slept) == (1, [])


@pytest.mark.parametrize(("named", "low", "high"), [
    ("7", 7, 7), ("0", 0, 0), ("1.5", 1.5, 1.5), ("-3", 0, 0), ("soon", 1, 2), ("", 1, 2),
    (timedelta(seconds=100), 60, 100), (timedelta(seconds=-100), 0, 0),
])
def test_the_server_says_how_long_to_wait(ask, named, low, high):
    if isinstance(named, timedelta):  # a date, from the moment in which the test runs
        named = format_datetime(datetime.now(UTC) + named)
    reply, _, slept = ask(lambda number, _: (429, {"retry-after": named}, b"") if number == 1
                          else "Label: honest")
    assert reply.text == "Label: honest"
    assert low <= slept[0] <= high


@pytest.mark.parametrize("named", ["86400", "inf", "nan"])
def test_a_server_that_says_to_wait_too_long_ends_the_run(ask, named):
    error, scripted, slept = ask(lambda *_: (429, {"retry-after": named}, b""))
    assert "longer than 300 s" in error
    assert (len(scripted.asked), slept) == (1, [])


def test_requests_keep_the_pace_repeated_ones_too():
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    started = []

    def script(number, _):
        started.append(now[0])
        return (500, {"retry-after": "0"}, b"") if number == 2 else "Label: honest"

    with (Scripted(script) as scripted,
          ChatServer(ServerSpec(scripted.url, "m", 32, rpm=30), lambda: now[0], sleep) as server):
        for _ in range(3):
            server.ask("?")
        now[0] += 100
        server.ask("?")
        server.ask("?")
    assert started == [0, 2, 4, 6, 106, 108]


@pytest.mark.parametrize("content", ["", None])
def test_an_empty_reply_is_a_reply(ask, content):
    body = '{"choices": [{"message": {"content": ' + ("null" if content is None else '""') + "}}]}"
    reply, scripted, _ = ask(lambda *_: (200, {}, body.encode()))
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == ("", None, None)
    assert len(scripted.asked) == 1


@pytest.mark.parametrize(("field", "value"), [("max_tokens", 0), ("timeout", -1), ("attempts", 0),
                                              ("rpm", 0), ("timeout", float("nan"))])
def test_a_spec_that_makes_no_sense_is_an_error(field, value):
    options = {"max_tokens": 32, field: value}
    with pytest.raises(JudgeError, match=f"{field} is {value}; expected"):
        ChatServer(ServerSpec("http://127.0.0.1:1/v1", "m", **options))


@pytest.fixture
def variable(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    return "JUDGE_KEY"


def test_the_key_goes_to_the_server_and_nowhere_else(ask, variable, caplog, capfd):
    """A server that tells the key back, in a refusal, an error or a reply, does not get it out."""
    caplog.set_level(logging.DEBUG)
    for logger in ("httpx2", "httpcore2", "tenacity"):
        caplog.set_level(logging.DEBUG, logger)
    seen = []
    for happens in ((401, {}, f"bad key {KEY}".encode()), (500, {"x": KEY}, KEY.encode()),
                    (500, {"retry-after": "999"}, KEY.encode()), (200, {}, KEY.encode()), KEY,
                    f"Label: honest {KEY.replace('/', '%2F').replace('+', '%2B')[:-2]}%3D%3D",
                    "DROP"):
        reply, scripted, _ = ask(lambda *_, happens=happens: happens, key_variable=variable,
                                 attempts=2)
        seen.append(str(reply))
        assert scripted.headers[0]["Authorization"] == f"Bearer {KEY}"
    for text in (*seen, caplog.text, *capfd.readouterr(),
                 *(str(record.__dict__) for record in caplog.records)):
        assert KEY not in text
        assert "very-secret" not in text
    assert "[key]" in seen[0]


def test_the_key_is_in_no_repr(variable):
    key = key_from_environment(variable)
    spec = ServerSpec("http://127.0.0.1:1/v1", "m", 32, key_variable=variable)
    with ChatServer(spec) as server:
        for thing in (key, spec, server, vars(server)):
            assert "very-secret" not in f"{thing!r} {thing}"
        assert "very-secret" not in repr(server._client.headers)


@pytest.mark.parametrize("value", ["", "short", f"{KEY}\n", f"{KEY} ", f"{KEY}\r\nX: y",
                                   "schlüssel1"])
def test_what_is_no_key_is_not_repeated(monkeypatch, value):
    monkeypatch.setenv("JUDGE_KEY", value)
    with pytest.raises(JudgeError) as caught:
        ChatServer(ServerSpec("http://127.0.0.1:1/v1", "m", 32, key_variable="JUDGE_KEY"))
    assert not value or value.strip() not in str(caught.value)


def test_a_key_given_for_the_name_is_not_repeated():
    with pytest.raises(JudgeError) as caught:
        key_from_environment("AIzaSyVerySecret")
    assert "AIza" not in str(caught.value)


@pytest.mark.parametrize("url", [
    f"https://{KEY}@host/v1", f"https://user:{KEY}@host/v1", f"https://host/v1?key={KEY}",
    f"https://host/{KEY}/v1", "https://host/v1?version=1", "http://host.example/v1",
    "http://10.0.0.1:8000/v1", "ftp://host/v1", "host/v1", "", "http:///v1", "http://[::1",
    "http://host:99999/v1",
])
def test_a_url_that_would_give_the_key_away_or_is_none(variable, url):
    with pytest.raises(JudgeError) as caught:
        ChatServer(ServerSpec(url, "m", 32, key_variable=variable))
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize("spec", [ServerSpec("https://host/v1", f"m-{KEY}", 32, "JUDGE_KEY"),
                                  ServerSpec("https://host/v1", "m", 32, "JUDGE_KEY",
                                             extra={"api_key": KEY})])
def test_the_key_is_not_to_stand_in_another_option(variable, spec):
    with pytest.raises(JudgeError, match="the key stands in") as caught:
        ChatServer(spec)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(("url", "is_loopback"), [
    ("http://127.0.0.1:8000/v1", True), ("http://127.3.2.1/v1", True), ("http://[::1]:8/v1", True),
    ("http://localhost:8000", True), ("http://localhost.example/v1", False),
    ("http://127.0.0.1.example/v1", False), ("http://10.0.0.1/v1", False),
])
def test_which_host_is_this_machine(url, is_loopback):
    assert loopback(url) == is_loopback


def test_without_a_key_nothing_is_replaced():
    assert Key().scrub("text") == "text"
