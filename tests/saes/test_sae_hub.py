"""SAEs fetched by the hub's own client from a hub on this machine, each client in a process of its
own: it reads its environment once, when it is imported."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_sae_files import METADATA, assert_equal, made

from deception_saes.saes import files
from deception_saes.saes.config import SaeError
from deception_saes.saes.hub import load
from deception_saes.saes.registry import ARCHITECTURES

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from fake_hub import ACCEPTED, COMMIT, FakeHub, serving

# Loads each SAE under its token and saves it; says how each ended.
CLIENT = """
import json, os, pathlib, sys, time
from deception_saes.saes.files import save
from deception_saes.saes.hub import load

time.sleep = lambda seconds: None  # between the attempts of the hub's client

def outcome(number, arguments, token):
    os.environ["HF_TOKEN"] = token
    try:
        save(load(*arguments), pathlib.Path(sys.argv[2]) / str(number))
    except Exception as error:
        return [type(error).__name__, str(error)]
    return ["loaded", ""]

wishes = json.loads(sys.argv[1])
print(json.dumps([outcome(number, *wish) for number, wish in enumerate(wishes)]))
"""

WISHES = {
    **{name: (["us/saes", f"v4_{name}"], "") for name in ARCHITECTURES},
    "by commit": (["us/saes", "v4_topk", COMMIT], ""),
    "gated, accepted": (["us/gated", "v4_topk"], ACCEPTED),
    "gated without a login": (["us/gated", "v4_gated"], ""),
    "gated, not accepted": (["us/gated", "v4_gated"], "hf_somebody"),
    "no such tag": (["us/saes", "v4_none"], ""),
    "no weights": (["us/saes", "v4_half"], ""),
    "damaged": (["us/saes", "v4_damaged"], ""),
    "no such revision": (["us/saes", "v4_topk", "v9"], ""),
    "none": (["us/none", "v4_topk"], "hf_somebody"),
    "none without a login": (["us/none", "v4_topk"], ""),
    "refused": (["us/refused", "v4_topk"], "hf_somebody"),
    "out of order": (["us/broken", "v4_topk"], ""),
    "path": (["us/saes", "../saes/v4_topk"], ""),
}


def outcomes_of(wishes, home, endpoint, out, **extra):
    ours = {name: value for name, value in os.environ.items()
            if not name.startswith(("HF_", "HUGGING_FACE"))}
    environment = ours | {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "NO_PROXY": "127.0.0.1",
                          "HF_HUB_DISABLE_TELEMETRY": "1", **extra}
    done = subprocess.run([sys.executable, "-c", CLIENT, json.dumps(wishes), str(out)],
                          env=environment, check=False, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A folder as the hub holds it: a tag of each architecture, half of one, and a damaged one."""
    out = tmp_path_factory.mktemp("release")
    for name in ARCHITECTURES:
        files.save(made(name), out / f"v4_{name}")
    shutil.copytree(out / "v4_topk", out / "v4_half")
    (out / "v4_half" / files.WEIGHTS).unlink()
    shutil.copytree(out / "v4_topk", out / "v4_damaged")
    with (out / "v4_damaged" / files.WEIGHTS).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    return out


@pytest.fixture(scope="module")
def session(tmp_path_factory, release):
    """Every wish asked of a hub that then goes away."""
    home, out = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("out")
    hub = FakeHub({"us/saes": release, "us/gated": release}, gated={"us/gated"},
                  broken={"us/refused": 403, "us/broken": 501})
    with serving(hub):
        outcomes = outcomes_of(list(WISHES.values()), home, hub.endpoint, out)
    return home, hub, dict(zip(WISHES, outcomes, strict=True)), out


@pytest.mark.parametrize("name", [*ARCHITECTURES, "by commit", "gated, accepted"])
def test_an_sae_of_the_hub_is_the_one_that_was_saved(session, name):
    _, _, outcomes, out = session
    assert outcomes[name] == ["loaded", ""]
    loaded = files.load(out / str(list(WISHES).index(name)))
    assert_equal(loaded, made(name if name in ARCHITECTURES else "topk"))


@pytest.mark.parametrize(("wish", "said"), [
    ("gated without a login", ["us/gated, v4_gated: ", "accept it at {hub}/us/gated", "log in"]),
    ("gated, not accepted", ["us/gated, v4_gated: ", "accept it at {hub}/us/gated"]),
    ("no such tag", ["us/saes, v4_none: ", "no SAE of this tag", "look up its tags"]),
    ("no weights", ["us/saes, v4_half: ", "no SAE of this tag", files.WEIGHTS]),
    ("damaged", ["v4_damaged", "its SHA-256 is not", "get both files again"]),
    ("no such revision", ["us/saes, v4_topk: ", "no revision 'v9'"]),
    ("none", ["us/none, v4_topk: ", "check the name"]),
    ("none without a login", ["us/none, v4_topk: ", "check the name"]),
    ("refused", ["us/refused, v4_topk: {hub} answered 403", "log in"]),
    ("out of order", ["us/broken, v4_topk: {hub} answered 501", "try again later"]),
    ("path", ["'../saes/v4_topk' is not a tag"]),
])
def test_what_is_unavailable_is_one_error_that_says_why_and_what_to_do(session, wish, said):
    _, hub, outcomes, _ = session
    kind, message = outcomes[wish]
    assert kind == "SaeError"
    assert "\n" not in message
    for part in said:
        assert part.format(hub=hub.endpoint) in message


def test_nothing_but_the_two_files_of_a_tag_is_asked_for(session):
    _, hub, _, _ = session
    asked = {line.rsplit("/", maxsplit=1)[-1] for line in hub.asked}
    assert asked <= {files.CFG, files.WEIGHTS}


def test_an_sae_that_was_fetched_loads_with_the_hub_gone(session, tmp_path):
    home, hub, _, _ = session
    [gone, never] = outcomes_of([WISHES["jumprelu"], WISHES["no such tag"]], home, hub.endpoint,
                                tmp_path)
    assert gone == ["loaded", ""]
    assert_equal(files.load(tmp_path / "0"), made("jumprelu"))
    assert never[0] == "SaeError"
    assert f"us/saes, v4_none: {hub.endpoint} cannot be reached (ConnectError:" in never[1]
    [offline, not_here] = outcomes_of([WISHES["gated"], WISHES["no such tag"]], home, hub.endpoint,
                                      tmp_path, HF_HUB_OFFLINE="1")
    assert offline == ["loaded", ""]
    assert "HF_HUB_OFFLINE is set; unset it" in not_here[1]


def test_what_the_cache_holds_is_not_asked_for_again(session, release, tmp_path):
    home, _, _, _ = session
    with serving(FakeHub({"us/saes": release})) as hub:
        assert outcomes_of([WISHES["topk"]], home, hub.endpoint, tmp_path) == [["loaded", ""]]
        assert hub.asked == []


# Below: this machine's folders, and what is refused before anybody is asked.


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("as_type", [str, Path])
def test_a_folder_here_is_read_without_the_hub(release, as_type):
    assert_equal(load(as_type(release), "v4_topk"), made("topk"))


@pytest.mark.usefixtures("no_network")
def test_a_folder_named_like_a_repository_is_read_here(release, tmp_path, monkeypatch):
    shutil.copytree(release, tmp_path / "us" / "saes")
    monkeypatch.chdir(tmp_path)
    assert_equal(load("us/saes", "v4_gated"), made("gated"))


@pytest.mark.usefixtures("no_network")
def test_a_tag_that_a_folder_here_lacks_is_named(release):
    with pytest.raises(SaeError, match=r"v4_none/cfg\.json"):
        load(release, "v4_none")


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("tag", ["", ".", "..", "../v4_topk", "a/b", "/etc", "a\\b", ".hidden",
                                 "v4_topk\n", "v4 topk"])
def test_a_tag_that_is_no_plain_name_is_refused(release, tag):
    for source in (release, "us/saes"):
        with pytest.raises(SaeError, match="is not a tag"):
            load(source, tag)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("source", ["saes", "us/saes/v4", "../us/saes", "/no/where", Path("us/s")])
def test_a_source_that_is_neither_folder_nor_repository_is_refused(source):
    with pytest.raises(SaeError, match=re.escape(str(source))):
        load(source, "v4_topk")


def test_an_sae_keeps_its_metadata_on_the_way(session):
    _, _, _, out = session
    loaded = files.load(out / str(list(WISHES).index("topk")))
    assert loaded.config.metadata == METADATA
    assert loaded.weights["W_enc"].dtype == torch.float32
