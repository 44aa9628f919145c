"""The real server, `transformers serve`, on the loopback."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from deception_saes.__main__ import main
from deception_saes.models.load import load
from deception_saes.models.registry import get
from deception_saes.tasks.completions import Completion, id_of, write_completions
from deception_saes.tasks.labels import load_labels
from deception_saes.tasks.scenarios import load_scenarios

KEY = "sk-very-secret-0123456789"
SINGLE, BATCH = "Label: deceptive", "1: honest\n2: ambiguous\n3: deceptive"
# Which of the two prompts it is decides the last token, and that one the reply.
TEMPLATE = ("{% set asked = messages[0]['content'] %}{{ asked }}"
            "{{ '<several>' if 'lines, one for each reply' in asked else '<one>' }}")


@pytest.fixture(scope="module")
def speaking(artifacts, tmp_path_factory):
    """A model that says SINGLE or BATCH: attention and MLP add nothing, so that each token alone
    decides the next."""
    tokenizer = load(get("tinyllama-random"), artifacts, "cpu").tokenizer
    folder = tmp_path_factory.mktemp("speaking")
    tokenizer.save_pretrained(folder)
    tokenizer = type(tokenizer).from_pretrained(folder)
    words = ["<one>", "<several>", SINGLE, BATCH]
    tokenizer.add_tokens(words)
    tokenizer.chat_template = TEMPLATE
    one, several, single, batch = (tokenizer.convert_tokens_to_ids(word) for word in words)
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, eos_token_id=tokenizer.eos_token_id, tie_word_embeddings=False))
    with torch.no_grad():
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        model.lm_head.weight.zero_()
        seen = model.model.embed_tokens.weight
        for token, after in ((one, single), (several, batch), (single, tokenizer.eos_token_id),
                             (batch, tokenizer.eos_token_id)):
            model.lm_head.weight[after] += seen[token]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Its base URL, up to which a judge is given."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as output:
        running = subprocess.Popen(
            [sys.executable, "-m", "transformers.cli.transformers", "serve", "--host", "127.0.0.1",
             "--port", str(port), "--device", "cpu"],
            stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            wait_until_healthy(port, running, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            running.terminate()
            try:
                running.wait(10)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()
    assert KEY not in log.read_text()


def wait_until_healthy(port, running, log):
    for _ in range(600):
        assert running.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    pytest.fail(f"the server did not start: {log.read_text()}")


@pytest.fixture
def completions(tmp_path):
    """A file with three completions of each of two shipped scenarios."""
    path, texts = tmp_path / "c.csv", (" that.", " <|im_end|>\n", " <one> no.")
    write_completions([Completion(id_of(s.id, "R3", draw), "smollm2it", s.id, "R3", draw, 1.0, 0,
                                  True, text)
                       for s in load_scenarios()[:2] for draw, text in enumerate(texts)], path)
    return path


@pytest.mark.parametrize(("more", "requests", "labels"), [
    ((), 6, ("deceptive",) * 3),
    (("--mode", "batch", "--per-prompt", "3"), 2, ("honest", "ambiguous", "deceptive")),
])
def test_a_real_server_is_asked(server, speaking, completions, monkeypatch, more, requests, labels):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    out = completions.with_name("l.csv")
    assert main(["judge", "--base-url", server, "--model", str(speaking), "--judge", "j", "--yes",
                 "--completions", str(completions), "--out", str(out),
                 "--key-variable", "JUDGE_KEY", "--attempts", "2", *more]) == 0
    found = load_labels(out)["j"]
    assert len(found) == 6
    assert found == {id: labels[int(id[-1])] for id in found}
    answers = [json.loads(line) for line in (out.parent / "l.j.answers.jsonl").read_text()
               .splitlines()[1:]]
    assert len(answers) == requests
    assert all(answer["prompt_tokens"] > 100 for answer in answers)
    assert {answer["completion_tokens"] for answer in answers} <= {1, 2}
    for path in out.parent.iterdir():
        assert KEY not in path.read_text()


def test_a_model_that_the_server_does_not_have_is_an_error(server, completions, capsys):
    assert main(["judge", "--base-url", server, "--model", "no-such/model", "--yes", "--attempts",
                 "1", "--completions", str(completions), "--out",
                 str(completions.with_name("l.csv"))]) == 1
    assert "HTTP" in capsys.readouterr().err
