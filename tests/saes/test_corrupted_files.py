"""Three hundred damaged SAEs: each loads exactly as it was saved, or raises the project's error."""

import json
import random

import pytest
from test_sae_files import assert_equal, made

from deception_saes.saes.config import SaeError
from deception_saes.saes.files import CFG, WEIGHTS, load, save
from deception_saes.saes.registry import ARCHITECTURES

SEEDS = range(100)  # of each architecture
ODD = (None, True, False, 0, 1, -1, 2 ** 80, 0.5, "", "64", "none", "topk", "gated", [], {}, [1])


def flipped(data, rng):
    changed = bytearray(data)
    changed[rng.randrange(len(changed))] ^= rng.randrange(1, 256)
    return bytes(changed)


def one_bit_flipped(data, rng):
    changed = bytearray(data)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncated(data, rng):
    return data[:rng.randrange(len(data))]


def overwritten(data, rng):
    start = rng.randrange(len(data))
    garbage = rng.randbytes(rng.randrange(1, 64))
    return data[:start] + garbage + data[start + len(garbage):]


def header_flipped(data, rng):
    """In a weights file: within the header, where the names, shapes and the digest are."""
    end = 8 + int.from_bytes(data[:8], "little")
    return flipped(data[:end], rng) + data[end:]


def field_altered(data, rng):
    """In a cfg: one field, at the top or in the metadata, of another value or name, or gone."""
    cfg = json.loads(data)
    place = rng.choice([cfg, cfg["metadata"]])
    key = rng.choice(list(place))
    value = place.pop(key)
    how = rng.choice(["removed", "renamed", "other type", "other value"])
    if how == "renamed":
        place[rng.choice([key.upper(), key + "_", key[:-1], "k", "threshold"])] = value
    elif how == "other type":
        place[key] = rng.choice(ODD)
    elif how == "other value":
        place[key] = value + 1 if isinstance(value, int | float) else f"{value}x"
    return json.dumps(cfg).encode()


DAMAGES = {
    CFG: [flipped, one_bit_flipped, truncated, overwritten, field_altered, field_altered],
    WEIGHTS: [flipped, one_bit_flipped, truncated, overwritten, header_flipped],
}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def saved(request, tmp_path_factory):
    """An SAE, its folder, and the bytes of both files."""
    folder = tmp_path_factory.mktemp(request.param) / "tag"
    sae = made(request.param)
    save(sae, folder)
    return sae, folder, {name: (folder / name).read_bytes() for name in (CFG, WEIGHTS)}


def outcome(sae, folder):
    """"loads" if the folder's SAE is the one saved, "refused" if it raises the project's error."""
    try:
        loaded = load(folder)
    except SaeError as error:
        return "refused" if str(folder) in str(error) else "refused without a name"
    assert_equal(loaded, sae)
    return "loads"


def restore(folder, whole):
    for name, data in whole.items():
        (folder / name).write_bytes(data)


def test_a_damaged_file_never_loads_as_something_else(saved):
    sae, folder, whole = saved
    outcomes = []
    for seed in SEEDS:
        rng = random.Random(f"{sae.config.architecture} {seed}")
        restore(folder, whole)
        name = rng.choice(list(DAMAGES))
        damaged = rng.choice(DAMAGES[name])(whole[name], rng)
        (folder / name).write_bytes(damaged)
        outcomes.append(outcome(sae, folder))
        if name == WEIGHTS and damaged != whole[name]:
            assert outcomes[-1] == "refused", seed
    assert set(outcomes) <= {"refused", "loads"}
    assert outcomes.count("refused") > 90


def test_no_flip_of_a_byte_of_the_header_or_the_cfg_passes(saved):
    """Every place once, by one bit."""
    sae, folder, whole = saved
    for name, end in ((CFG, len(whole[CFG])),
                      (WEIGHTS, 8 + int.from_bytes(whole[WEIGHTS][:8], "little"))):
        for place in range(end):
            changed = bytearray(whole[name])
            changed[place] ^= 1 << place % 8
            (folder / name).write_bytes(changed)
            assert outcome(sae, folder) in ("refused", "loads")
        restore(folder, whole)
    assert outcome(sae, folder) == "loads"


def test_both_files_damaged_at_once_do_not_pass(saved):
    sae, folder, whole = saved
    for seed in range(50):
        rng = random.Random(seed)
        for name in whole:
            (folder / name).write_bytes(rng.choice(DAMAGES[name])(whole[name], rng))
        assert outcome(sae, folder) in ("refused", "loads")
    restore(folder, whole)


def test_a_cfg_that_lost_its_seal_cannot_pass_for_a_released_one(saved):
    """The release has no digests; a file that lost only its own is still told from one."""
    sae, folder, whole = saved
    restore(folder, whole)
    cfg = json.loads(whole[CFG])
    (folder / CFG).write_text(json.dumps({k: v for k, v in cfg.items() if k != "metadata"}))
    assert outcome(sae, folder) == "refused"
