"""The hub's own client against a hub on this machine, each client in a process of its own: it
reads its environment once, when it is imported."""

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from fake_hub import ACCEPTED, COMMIT, FakeHub, serving

from deception_saes.models.hub import fetch, find_snapshot
from deception_saes.models.load import converted, load, why_unavailable
from deception_saes.models.registry import MODELS, get
from deception_saes.models.spec import HubModel, ModelUnavailable

# Fetches each model under its token; says how each ended.
CLIENT = """
import dataclasses, json, os, sys
from deception_saes.models.hub import fetch
from deception_saes.models.registry import get
from deception_saes.models.spec import HubModel

def outcome(source, token):
    os.environ["HF_TOKEN"] = token
    try:
        fetch(dataclasses.replace(get("tinyllama-random"), source=HubModel(**source)))
    except Exception as error:
        return [type(error).__name__, str(error)]
    return ["fetched", ""]

print(json.dumps([outcome(*wish) for wish in json.loads(sys.argv[1])]))
"""

# Loads a model the way a notebook does; prints the weights' digest.
LOADER = """
import dataclasses, hashlib, pathlib, sys
from deception_saes.models.load import load
from deception_saes.models.registry import get
from deception_saes.models.spec import HubModel

spec = dataclasses.replace(get("tinyllama-random"), source=HubModel(sys.argv[1]))
model = load(spec, pathlib.Path("nowhere"), "cpu").model
print(hashlib.sha256(b"".join(p.numpy().tobytes() for p in model.parameters())).hexdigest())
"""


def run(code, argument, home, endpoint, **extra):
    """Standard output and standard error of a client with nothing but this home and hub."""
    ours = {name: value for name, value in os.environ.items()
            if not name.startswith(("HF_", "HUGGING_FACE", "TRANSFORMERS_"))}
    environment = ours | {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "NO_PROXY": "127.0.0.1",
                          "HF_HUB_DISABLE_TELEMETRY": "1", **extra}
    done = subprocess.run([sys.executable, "-c", code, argument], env=environment, check=False,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def fetched(home, endpoint, wishes, **extra):
    out, err = run(CLIENT, json.dumps(wishes), home, endpoint, **extra)
    return json.loads(out.splitlines()[-1]), err


WISHES = {
    "open": ({"repo": "us/tiny"}, ""),
    "gated without a login": ({"repo": "us/gated", "gated": True}, ""),
    "gated, not accepted": ({"repo": "us/gated", "gated": True}, "hf_somebody"),
    "gated, not known to be": ({"repo": "us/gated"}, "hf_somebody"),
    "gated and hidden": ({"repo": "us/hidden", "gated": True}, ""),
    "none without a login": ({"repo": "us/none"}, ""),
    "none": ({"repo": "us/none"}, "hf_somebody"),
    "no such revision": ({"repo": "us/tiny", "revision": "v9"}, ""),
    "pickles only": ({"repo": "us/pickles"}, ""),
    "refused": ({"repo": "us/refused"}, "hf_somebody"),
    "out of order": ({"repo": "us/broken"}, ""),
    "gated, accepted": ({"repo": "us/gated", "gated": True}, ACCEPTED),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, artifacts, tiny_llama):
    """What the hub holds of a model: ours, and what must not be fetched."""
    out = tmp_path_factory.mktemp("hub") / "tiny"
    shutil.copytree(converted(tiny_llama.spec, artifacts), out)
    (out / "pytorch_model.bin").write_text("a pickle")
    (out / "original").mkdir()
    (out / "original" / "params.json").write_text("{}")
    return out


@pytest.fixture(scope="module")
def pickles(tmp_path_factory, folder):
    out = tmp_path_factory.mktemp("pickles") / "only"
    return shutil.copytree(folder, out, ignore=shutil.ignore_patterns("*.safetensors"))


@pytest.fixture(scope="module")
def session(tmp_path_factory, folder, pickles):
    """Every wish asked of a hub that then goes away: its home, the hub, outcomes, stderr."""
    home = tmp_path_factory.mktemp("home")
    hub = FakeHub({"us/tiny": folder, "us/gated": folder, "us/pickles": pickles},
                  gated={"us/gated"}, broken={"us/refused": 403, "us/broken": 501})
    with serving(hub):
        outcomes, stderr = fetched(home, hub.endpoint, list(WISHES.values()))
    return home, hub, dict(zip(WISHES, outcomes, strict=True)), stderr


@pytest.fixture
def tiny_of_hub(tiny_llama):
    return dataclasses.replace(tiny_llama.spec, source=HubModel("us/tiny"))


@pytest.mark.parametrize(("wish", "said"), [
    ("gated without a login", ["us/gated: ", "accept it at {hub}/us/gated", "`hf auth login`"]),
    ("gated, not accepted", ["us/gated: ", "accept it at {hub}/us/gated", "`hf auth login`"]),
    ("gated, not known to be", ["us/gated: ", "accept it at {hub}/us/gated", "`hf auth login`"]),
    ("gated and hidden", ["us/hidden: ", "accept it at {hub}/us/hidden", "`hf auth login`"]),
    ("none without a login", ["us/none: {hub} ", "`hf auth login`"]),
    ("none", ["us/none: {hub} ", "check the name"]),
    ("no such revision", ["us/tiny: ", "no revision 'v9'"]),
    ("pickles only", ["us/pickles: ", "lacks model.safetensors"]),
    ("refused", ["us/refused: {hub} answered 403 Something is wrong here", "`hf auth login`"]),
    ("out of order", ["us/broken: {hub} answered 501", "try again later"]),
])
def test_what_the_hub_refuses_is_one_error_that_says_why_and_what_to_do(session, wish, said):
    _, hub, outcomes, _ = session
    kind, message = outcomes[wish]
    assert kind == "ModelUnavailable"
    assert "\n" not in message
    for part in said:
        assert part.format(hub=hub.endpoint) in message


@pytest.mark.parametrize("wish", ["open", "gated, accepted"])
def test_a_model_that_may_be_read_is_fetched_with_a_progress_bar(session, wish):
    _, _, outcomes, stderr = session
    assert outcomes[wish] == ["fetched", ""]
    assert "Fetching" in stderr


def test_no_pickle_and_no_second_copy_is_fetched(session, folder):
    home, hub, _, _ = session
    snapshot = home / "hub" / "models--us--tiny" / "snapshots" / COMMIT
    expected = {path.name for path in folder.iterdir()} - {"pytorch_model.bin", "original"}
    assert {path.name for path in snapshot.iterdir()} == expected
    assert not [line for line in hub.asked if line.endswith((".bin", "params.json"))]


def test_a_fetched_model_loads_with_the_hub_gone(session, tiny_llama):
    home, hub, _, _ = session
    [gated], _ = fetched(home, hub.endpoint, [WISHES["gated, accepted"]], HF_HUB_OFFLINE="1")
    assert gated == ["fetched", ""]
    out, _ = run(LOADER, "us/tiny", home, hub.endpoint, HF_HUB_OFFLINE="1")
    weights = b"".join(p.numpy().tobytes() for p in tiny_llama.model.parameters())
    assert out.split()[-1] == hashlib.sha256(weights).hexdigest()


def test_a_hub_that_does_not_answer_is_one_error(session, tmp_path):
    _, hub, _, _ = session
    [(kind, message)], _ = fetched(tmp_path, hub.endpoint, [WISHES["open"]])
    assert kind == "ModelUnavailable"
    assert f"us/tiny: {hub.endpoint} cannot be reached (ConnectError:" in message
    assert "check the connection" in message


def test_a_client_told_to_stay_offline_says_so(folder, tmp_path):
    with serving(FakeHub({"us/tiny": folder})) as hub:
        [(kind, message)], _ = fetched(tmp_path, hub.endpoint, [WISHES["open"]],
                                       HF_HUB_OFFLINE="1")
    assert (kind, hub.asked) == ("ModelUnavailable", [])
    assert "us/tiny: " in message
    assert "HF_HUB_OFFLINE is set; unset it" in message


def test_what_an_interrupted_fetch_left_out_is_fetched(
    session, folder, tmp_path, monkeypatch, tiny_of_hub
):
    home = shutil.copytree(session[0], tmp_path / "home", symlinks=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hub"))
    assert why_unavailable(tiny_of_hub) is None
    # transformers would load it without this one; the client's own list of files knows better
    (home / "hub" / "models--us--tiny" / "snapshots" / COMMIT / "chat_template.jinja").unlink()
    assert "us/tiny: the local Hugging Face cache lacks some" in why_unavailable(tiny_of_hub)
    with serving(FakeHub({"us/tiny": folder})) as hub:
        assert fetched(home, hub.endpoint, [WISHES["open"]])[0] == [["fetched", ""]]
    assert why_unavailable(tiny_of_hub) is None


# Below: only the cache, in this process, where any connection is an error.


@pytest.fixture
def cached(empty_hub_cache, folder):
    """A model in the cache, as an interrupted or hand-made download leaves it: its snapshot."""
    place = empty_hub_cache / "models--us--tiny"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    return shutil.copytree(folder, place / "snapshots" / COMMIT)


def test_a_whole_snapshot_is_found_and_not_fetched_again(cached, tiny_of_hub):
    assert why_unavailable(tiny_of_hub) is None
    assert find_snapshot(tiny_of_hub.source) == cached
    fetch(tiny_of_hub)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json",
                                  "model.safetensors"])
def test_a_snapshot_without_a_file_it_needs_cannot_be_had(cached, tiny_of_hub, tmp_path, name):
    (cached / name).unlink()
    reason = why_unavailable(tiny_of_hub)
    assert reason is not None
    assert reason.startswith("us/tiny: ")
    assert f" {name};" in reason
    assert "hf download us/tiny" in reason
    with pytest.raises(ModelUnavailable, match=f" {name};"):
        load(tiny_of_hub, tmp_path, "cpu")


def test_a_link_to_a_file_that_never_came_counts_as_missing(cached, tiny_of_hub):
    (cached / "model.safetensors").unlink()
    (cached / "model.safetensors").symlink_to("../../blobs/none")
    assert " model.safetensors;" in why_unavailable(tiny_of_hub)


def test_every_shard_must_be_there(cached, tiny_of_hub):
    weights = cached / "model.safetensors"
    weights.rename(cached / "one.safetensors")
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (cached / "model.safetensors.index.json").write_text(json.dumps(index))
    assert " two.safetensors;" in why_unavailable(tiny_of_hub)
    shutil.copy(cached / "one.safetensors", cached / "two.safetensors")
    assert why_unavailable(tiny_of_hub) is None


def test_a_pickle_beside_no_safetensors_is_not_read(cached, tiny_of_hub):
    torch.save({}, cached / "pytorch_model.bin")
    (cached / "model.safetensors").unlink()
    assert " model.safetensors;" in why_unavailable(tiny_of_hub)


def test_another_revision_is_another_snapshot(cached, tiny_of_hub):
    other = dataclasses.replace(tiny_of_hub, source=HubModel("us/tiny", revision="v2"))
    reason = why_unavailable(other)
    assert reason is not None
    assert "hf download us/tiny --revision v2" in reason


def test_what_does_not_come_from_the_hub_needs_no_fetching(empty_hub_cache):
    for spec in MODELS.values():
        if not isinstance(spec.source, HubModel):
            fetch(spec)


def test_the_models_of_the_study_come_from_the_hub():
    of_the_study = {slug for slug, spec in MODELS.items() if spec.of_the_study}
    assert of_the_study == {"llama", "smollm2", "tinyllama", "pythia160m", "pythia410m"}
    assert {slug for slug, spec in MODELS.items() if isinstance(spec.source, HubModel)} == (
        of_the_study)
    assert [slug for slug in of_the_study if get(slug).source.gated] == ["llama"]
