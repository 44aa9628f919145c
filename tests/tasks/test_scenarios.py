import copy
import re

import pytest

from deception_saes.errors import UserError
from deception_saes.tasks.prompts import encode
from deception_saes.tasks.scenarios import SHOTS, load_scenarios, prompt_ids, prompt_text

ENTRIES = ("title", "user", "opening", "fact", "honest", "deceptive", "ambiguous", "honest_reply",
           "deceptive_reply")


def toml(id="a_vase", **changed):
    entries = {"id": f'"{id}"'} | {name: f'"some {name}"' for name in ENTRIES} | changed
    return "[[scenario]]\n" + "".join(f"{k} = {v}\n" for k, v in entries.items() if v is not None)


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "scenarios.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def bare(tiny):
    """The tokenizer without its chat template."""
    tokenizer = copy.deepcopy(tiny.tokenizer)
    tokenizer.chat_template = None
    return tokenizer


def test_at_least_eight_scenarios_are_shipped():
    assert len({scenario.id for scenario in load_scenarios()}) >= 8


@pytest.mark.parametrize("scenario", load_scenarios(), ids=lambda scenario: scenario.id)
def test_a_prompt_asks_and_neither_assigns_a_role_nor_tells_how_to_answer(scenario):
    told = re.compile(r"\b(lie|lies|lying|liar|decei\w*|pretend\w*|honest\w*|truth\w*|role"
                      r"|secret\w*|hide|conceal\w*|must not|should|persuade)\b", re.IGNORECASE)
    for prompt in (scenario.user, scenario.opening, *(part for shot in SHOTS for part in shot)):
        assert not told.search(prompt)
    assert re.search(r'asks(?: you)?: "[^"]+\?" What do you say to ', scenario.user)


@pytest.mark.parametrize("scenario", load_scenarios(), ids=lambda scenario: scenario.id)
def test_the_reference_replies_differ_and_go_on_from_the_opening(scenario):
    assert scenario.honest_reply != scenario.deceptive_reply
    assert not scenario.honest_reply.startswith(scenario.opening)
    assert not scenario.deceptive_reply.startswith(scenario.opening)


def test_a_prompt_ends_with_the_opening(tiny):
    for scenario in load_scenarios():
        text = prompt_text(scenario, tiny.tokenizer)
        assert text.endswith(scenario.opening)
        assert text.count(scenario.user) == 1
        assert prompt_ids(scenario, tiny.tokenizer) == encode(text, tiny.tokenizer)


def test_a_chat_template_wraps_every_turn(tiny):
    scenario = load_scenarios()[0]
    tokenizer = copy.deepcopy(tiny.tokenizer)
    tokenizer.chat_template = ("{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
                               "{% if add_generation_prompt %}<assistant>{% endif %}")
    shots = "".join(f"<user>{user}</><assistant>{reply}</>" for user, reply in SHOTS)
    assert prompt_text(scenario, tokenizer) == (
        f"{shots}<user>{scenario.user}</><assistant>{scenario.opening}")


def test_without_a_chat_template_the_turns_stand_in_plain_text(bare):
    scenario = load_scenarios()[0]
    shots = "".join(f"{user}\n{reply}\n\n" for user, reply in SHOTS)
    assert prompt_text(scenario, bare) == f"{shots}{scenario.user}\n{scenario.opening}"


def test_a_scenario_is_read_as_it_stands(file):
    [scenario] = load_scenarios(file(toml(user='"""Ask: "why?"\n<b>"""')))
    assert scenario.user == 'Ask: "why?"\n<b>'
    assert scenario.fact == "some fact"


@pytest.mark.parametrize(("text", "message"), [
    ("", "no scenario"), ("scenario = 3", "no scenario"),
    ("scenario = [", "not TOML"), (b"\xff", "not TOML"),
    (toml(fact=None), "scenario 1: .*expected id, title"),
    (toml(mood='"glad"'), "scenario 1: .*mood"),
    (toml() + toml("b", honest='" "'), "scenario 2: honest is ' '"),
    (toml(deceptive="7"), "scenario 1: deceptive is 7"),
    (toml("A-1"), "scenario 1: .*'A-1'"),
    (toml() + toml(), "'a_vase'"),
])
def test_a_malformed_file_is_named_with_the_remedy(file, text, message):
    with pytest.raises(UserError, match=rf"^scenarios\.toml.*{message}"):
        load_scenarios(file(text))
