"""A release: what is copied, what its card says, and that it is whole or not there; its upload by
the hub's own client to a hub on this machine."""

import dataclasses
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from deception_saes.__main__ import main
from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.profiles import profile_named
from deception_saes.paper.publish import CARD, MANIFEST, ReleaseError, write_release
from deception_saes.paper.record import SectionRun
from deception_saes.paper.results import Results, Value
from deception_saes.paper.subjects import saes_of
from deception_saes.saes import files
from deception_saes.saes.config import SaeConfig, SaeError
from deception_saes.saes.registry import build
from deception_saes.saes.tags import sandbagging_tags

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from fake_hub import COMMIT, OWNER, FakeHub, serving

MODEL = "tinyllama-random"
TAGS = {"v4_tiny_topk_L4_mixed": ("topk", 3), "v4_tiny_jumprelu_L4_mixed": ("jumprelu", None),
        "v4_tiny_gated_L4_mixed": ("gated", None)}
RESULTS = Results(25, "done", None, "smoke", 0, "abc123def456", {"torch": "9.8.7"}, 1.0, [
    Value("s25.all.rows", "P(x | y) of all", 1234, "count", n=17),
    Value("s25.topk.l0", "L0 of one SAE", 55.5, "count", tag="v4_tiny_topk_L4_mixed")])

UPLOADER = """
import json, pathlib, sys, time
from deception_saes.paper.publish import upload
time.sleep = lambda seconds: None  # between the attempts of the hub's client

def outcome(folder, repo, token):
    try:
        return ["uploaded", upload(pathlib.Path(folder), repo, token)]
    except Exception as error:
        return [type(error).__name__, str(error)]

print(json.dumps([outcome(*wish) for wish in json.loads(sys.argv[1])]))
"""

READER = """
import sys
tag, code = sys.argv[1:]
exec(code)
print("read", tag)
"""


def made(architecture, k):
    weights = {"W_enc": (4, 8), "W_dec": (8, 4), "b_dec": (4,)}
    weights |= {"topk": {"b_enc": (8,)}, "jumprelu": {"b_enc": (8,), "threshold": (8,)},
                "gated": {"b_gate": (8,), "b_mag": (8,), "r_mag": (8,)}}[architecture]
    metadata = {"model_name": "tinyllama-random", "hook_name": "model.layers.4",
                "prepend_bos": False, "context_size": 77, "training_rows": 4321,
                "of_this_one": architecture}
    return build(SaeConfig(architecture, 4, 8, k=k, metadata=metadata),
                 {name: torch.rand(shape) for name, shape in weights.items()})


@pytest.fixture
def saes(tmp_path):
    """Folders of SAEs by tag."""
    for tag, (architecture, k) in TAGS.items():
        files.save(made(architecture, k), tmp_path / "saes" / tag)
        (tmp_path / "saes" / tag / "checkpoint.tmp").write_text("of the training")
    return {tag: tmp_path / "saes" / tag for tag in TAGS}


@pytest.fixture
def run():
    rows = [{"tag": tag, "architecture": architecture, "layer": 4, "train_set": "mixed", "k": k,
             "expansion": 2, "l0": 2.34567, "explained_variance": 0.87654, "mse": 0.00123456,
             "dead_share": 0.0, "kl_recovered": 0.5 if k else None}
            for tag, (architecture, k) in TAGS.items()]
    return SectionRun(SECTIONS[25], RESULTS, Path("nowhere"), {"saes": pd.DataFrame(rows)})


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}


def test_a_release_is_the_saes_of_the_table_a_card_and_a_manifest(run, saes, tmp_path, smoke):
    out = tmp_path / "deep" / "release"
    write_release(run, saes, out, smoke)
    released = contents(out)
    assert released.keys() == {CARD, MANIFEST} | {
        f"{tag}/{name}" for tag in TAGS for name in (files.CFG, files.WEIGHTS)}
    for tag, folder in saes.items():
        for name in (files.CFG, files.WEIGHTS):
            assert released[f"{tag}/{name}"] == (folder / name).read_bytes()
    assert [path.name for path in out.parent.iterdir()] == ["release"]
    assert out.stat().st_mode & 0o055 == 0o055


def test_the_card_says_what_the_run_measured(run, saes, tmp_path, smoke):
    write_release(run, saes, tmp_path / "out", smoke, "us/saes")
    text = (tmp_path / "out" / CARD).read_text(encoding="utf-8")
    card = ModelCard(text).data
    assert (card.license, card.library_name, card.base_model) == ("mit", "saelens", None)
    assert "saelens" in card.tags
    lines = text.splitlines()
    for line in (
        "| v4_tiny_topk_L4_mixed | topk | 4 | mixed | 3 | 2 | 2.35 | 0.877 | 0.00123 | 0 | 0.5 |",
        "| v4_tiny_gated_L4_mixed | gated | 4 | mixed | – | 2 | 2.35 | 0.877 | 0.00123 | 0 | – |",
        "| training_rows | 4321 |", "| context_size | 77 |", "| prepend_bos | false |",
        "| commit | abc123def456 |", "| profile | smoke |", "| torch | 9.8.7 |", "| d_in | 4 |",
        "make section S=25 PROFILE=smoke SEED=0", "| P(x \\| y) of all |  | 1234 | 17 |",
    ):
        assert line in lines
    assert "of_this_one" not in text
    assert "L0 of one SAE" not in text
    assert "random weights" in text
    assert "\n\n\n" not in text
    page = MarkdownIt("commonmark").enable("table").render(ModelCard(text).text)
    assert page.count("<table>") == 3
    assert sum(line.startswith("| ") for line in lines) - 3 == page.count("<tr>")


def test_a_model_of_the_hub_is_named_as_the_base(run, saes, tmp_path):
    write_release(run, saes, tmp_path / "out", profile_named("paper"))
    card = ModelCard((tmp_path / "out" / CARD).read_text(encoding="utf-8"))
    assert card.data.base_model == "meta-llama/Llama-3.2-1B"
    assert "Llama 3.2 Community License" in card.text
    assert "random weights" not in card.text


def test_an_earlier_release_is_replaced_as_a_whole(run, saes, tmp_path, smoke):
    out = tmp_path / "out"
    out.mkdir()
    write_release(run, saes, out, smoke)
    table = run.table("saes")
    write_release(dataclasses.replace(run, _tables={"saes": table[:1]}), saes, out, smoke)
    assert {path.name for path in out.iterdir()} == {CARD, MANIFEST, table["tag"][0]}


@pytest.mark.parametrize(("foreign", "text"), [
    ("thesis.tex", "mine"), (".git/HEAD", "mine"), ("v4_tiny_topk_L4_mixed/notes.txt", "mine"),
    (MANIFEST, "{"), (MANIFEST, "[]"), (MANIFEST, '{"written_by": "deception_saes"}')])
@pytest.mark.parametrize("after_a_release", [True, False])
def test_a_folder_with_anything_else_in_it_is_left_alone(
    run, saes, tmp_path, smoke, foreign, text, after_a_release
):
    out = tmp_path / "out"
    if after_a_release:
        write_release(run, saes, out, smoke)
    (out / foreign).parent.mkdir(parents=True, exist_ok=True)
    (out / foreign).write_text(text)
    before = contents(out)
    for attempt in (out, out / foreign):
        with pytest.raises(ReleaseError, match=re.escape(str(attempt))):
            write_release(run, saes, attempt, smoke)
    assert contents(out) == before


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("damage", ["missing", "flipped", "of another"])
def test_a_broken_sae_stops_a_release_that_leaves_no_trace(
    run, saes, tmp_path, smoke, damage, before
):
    out, folder = tmp_path / "out", saes["v4_tiny_gated_L4_mixed"]
    weights = folder / files.WEIGHTS
    if before:
        write_release(run, saes, out, smoke)
    left = contents(out)
    if damage == "missing":
        weights.unlink()
    elif damage == "flipped":
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    else:
        shutil.copytree(saes["v4_tiny_topk_L4_mixed"], folder, dirs_exist_ok=True)
    with pytest.raises((SaeError, ReleaseError), match=str(folder)):
        write_release(run, saes, out, smoke)
    assert contents(out) == left
    assert {path.name for path in tmp_path.iterdir()} == {"saes"} | ({"out"} if before else set())


def test_a_release_that_cannot_take_its_place_leaves_the_earlier_one(
    run, saes, tmp_path, smoke, monkeypatch
):
    write_release(run, saes, tmp_path / "out", smoke)
    left, rename = contents(tmp_path / "out"), Path.rename

    def failing(path, target):
        if path.name == "new":
            raise OSError("no")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no"):
        write_release(run, saes, tmp_path / "out", smoke)
    assert contents(tmp_path / "out") == left


def test_a_section_that_was_not_run_has_nothing_to_release(run, saes, tmp_path, smoke):
    not_run = dataclasses.replace(RESULTS, status="not run", reason="the model is gated")
    with pytest.raises(ReleaseError, match="the model is gated"):
        write_release(dataclasses.replace(run, results=not_run), saes, tmp_path / "out", smoke)
    assert not (tmp_path / "out").exists()


# The hub


def client(code, *arguments, home, endpoint, **extra):
    ours = {name: value for name, value in os.environ.items()
            if not name.startswith(("HF_", "HUGGING_FACE"))}
    environment = ours | {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "NO_PROXY": "127.0.0.1",
                          "HF_HUB_DISABLE_TELEMETRY": "1", **extra}
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=environment, check=False,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.fixture
def release(run, saes, tmp_path, smoke):
    write_release(run, saes, tmp_path / "out", smoke, "us/saes")
    return tmp_path / "out"


def test_a_release_is_uploaded_and_what_is_refused_is_one_error(release, tmp_path):
    hub = FakeHub({"us/old": release})
    wishes = {"new": (str(release), "us/saes", OWNER), "old": (str(release), "us/old", OWNER),
              "not theirs": (str(release), "them/saes", "hf_somebody"),
              "no name": (str(release), "a/b/c", OWNER),
              "no release": (str(tmp_path / "saes"), "us/saes", OWNER)}

    def outcomes(*names, **environment):
        found = json.loads(client(UPLOADER, json.dumps([wishes[name] for name in names]),
                                  home=tmp_path / "home", endpoint=hub.endpoint, **environment))
        return dict(zip(names, found, strict=True))

    with serving(hub):
        found = outcomes(*wishes)
    assert found["new"] == ["uploaded", f"{hub.endpoint}/us/saes/commit/{COMMIT}"]
    assert found["old"] == ["uploaded", f"{hub.endpoint}/us/old/commit/{COMMIT}"]
    assert hub.commits == [contents(release)] * 2
    for [kind, message], named in (
        (found["not theirs"], ("them/saes", hub.endpoint, "403")),
        (found["no name"], ("a/b/c",)), (found["no release"], (str(tmp_path / "saes"),)),
        (outcomes("new")["new"], ("us/saes", hub.endpoint)),  # the hub is gone by now
        (outcomes("new", HF_HUB_OFFLINE="1")["new"], ("us/saes", "HF_HUB_OFFLINE")),
    ):
        assert kind == "ReleaseError"
        assert "\n" not in message
        assert all(name in message for name in named)


def test_every_way_to_load_that_the_card_names_works(release, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (release / CARD).read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 3
    if importlib.util.find_spec("sae_lens") is None:
        blocks = [block for block in blocks if "sae_lens" not in block]
    with serving(FakeHub({"us/saes": release})) as hub:
        for number, block in enumerate(blocks):
            said = client(READER, "it", block, home=tmp_path / f"home{number}",
                          endpoint=hub.endpoint)
            assert said.startswith("read")


def test_the_command_writes_the_release_of_a_profile(smoke, smoke_task, tmp_path, capsys):
    out = tmp_path / "release"
    assert main(["publish", "--profile", "smoke", "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    saes = saes_of(smoke, smoke_task)
    assert {tag.name for tag in saes.tags} == {tag.name for tag in sandbagging_tags(MODEL, 8)}
    released = {name: content for name, content in contents(out).items() if "/" in name}
    assert released == {f"{tag.name}/{name}": (saes.bank(tag.layer).source / tag.name
                                               / name).read_bytes()
                        for tag in saes.tags for name in (files.CFG, files.WEIGHTS)}
    (out / "mine.txt").write_text("a foreign file")
    assert main(["publish", "--profile", "smoke", "--out", str(out)]) == 1
    assert "mine.txt" in capsys.readouterr().err
