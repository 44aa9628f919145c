import random
from dataclasses import dataclass

import numpy as np
import pytest

from deception_saes.errors import UserError
from deception_saes.tasks.labels import balanced, duplicate_groups, load_labels, write_labels

HEADER = "completion,judge,label,note"


@dataclass(frozen=True)
class Row:
    id: str
    scenario: str


@pytest.fixture
def file(tmp_path):
    def write(*lines):
        path = tmp_path / "labels.csv"
        path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n"
                                  for line in lines))
        return path

    return write


def test_labels_are_read_by_judge(file):
    path = file(HEADER, "a-R3-000,claude-1,honest,",
                '"b-R3-000","x-batch","ambiguous","no, ""no"""', "b-R3-000,claude-1,deceptive,why")
    assert load_labels(path) == {
        "claude-1": {"a-R3-000": "honest", "b-R3-000": "deceptive"},
        "x-batch": {"b-R3-000": "ambiguous"},
    }


@pytest.mark.parametrize(("lines", "row", "wrong"), [
    ((), 1, "the columns are"),
    (("completion,judge,label", "a,j,honest"), 1, "the columns are"),
    ((f"{HEADER},extra", "a,j,honest,,"), 1, "the columns are"),
    ((HEADER, "a,j,honest,", "b,j,honest"), 3, "3 cells"),
    ((HEADER, "a,j,Honest,"), 2, "the label is 'Honest'"),
    ((HEADER, "a,j,,"), 2, "the label is ''"),
    ((HEADER, "a,j,honest,", " ,j,honest,"), 3, "the completion is empty"),
    ((HEADER, "a,,honest,"), 2, "the judge is empty"),
    ((HEADER, "a,j,honest,", "a,k,honest,", "a,j,honest,"), 4, "'a' in row 2"),
    ((HEADER, 'a,"j,honest,'), 2, "unexpected end of data"),
    ((HEADER, "a,j,honest,", b"b,j,honest,\xff"), 3, "0xff"),
])
def test_a_malformed_file_is_an_error_that_names_the_row(file, lines, row, wrong):
    with pytest.raises(UserError) as caught:
        load_labels(file(*lines))
    assert f"labels.csv, row {row}: " in str(caught.value)
    assert wrong in str(caught.value)


def test_writing_replaces_one_judge_and_keeps_the_others(file):
    path = file(HEADER, "a,j,honest,", 'a,k,ambiguous,"line\nbreak, ""quoted"""', "b,j,honest,")
    write_labels(path, "j", {"b": "deceptive"})
    assert load_labels(path) == {"k": {"a": "ambiguous"}, "j": {"b": "deceptive"}}
    assert '"line\nbreak, ""quoted"""' in path.read_text()


def test_writing_makes_the_file(tmp_path):
    write_labels(tmp_path / "new.csv", "j", {"a": "honest"})
    assert load_labels(tmp_path / "new.csv") == {"j": {"a": "honest"}}


@pytest.mark.parametrize(("judge", "labels"), [("j", {"a": "unclear"}), ("j", {"": "honest"}),
                                               ("", {"a": "honest"})])
def test_what_could_not_be_read_is_not_written(tmp_path, judge, labels):
    with pytest.raises(ValueError, match="may not stand"):
        write_labels(tmp_path / "new.csv", judge, labels)
    assert not (tmp_path / "new.csv").exists()


@pytest.fixture
def rows():
    """Two scenarios: 3 honest and 7 deceptive, 6 honest and 2 deceptive; some of neither."""
    rows = [Row(f"a-{i}", "a") for i in range(12)] + [Row(f"b-{i}", "b") for i in range(10)]
    labels = {f"a-{i}": "honest" if i < 3 else "deceptive" for i in range(10)}
    labels |= {f"b-{i}": "honest" if i < 6 else "deceptive" for i in range(8)}
    return rows, labels | {"a-10": "ambiguous", "b-8": "ambiguous"}


def test_balanced_takes_all_of_the_rarer_label_in_each_scenario(rows):
    ids = balanced(*rows, seed=0)
    assert {"a-0", "a-1", "a-2", "b-6", "b-7"} <= set(ids)
    assert len(ids) == len(set(ids)) == 2 * 3 + 2 * 2
    assert sum(id.startswith("a-") for id in ids) == 6
    assert all(rows[1][id] != "ambiguous" for id in ids)
    assert ids == [row.id for row in rows[0] if row.id in ids]


def test_balanced_depends_on_the_seed_and_not_on_the_order_or_other_scenarios(rows):
    completions, labels = rows
    ids = balanced(completions, labels, seed=0)
    assert balanced(completions[::-1], labels, seed=0) == ids[::-1]
    alone = [id for id in ids if id.startswith("a-")]
    assert balanced([c for c in completions if c.scenario == "a"], labels, seed=0) == alone
    assert any(balanced(completions, labels, seed) != ids for seed in range(1, 6))


def test_a_scenario_with_one_label_only_gives_none(rows):
    completions, labels = rows
    labels = {id: "honest" if id.startswith("a") else label for id, label in labels.items()}
    assert all(id.startswith("b") for id in balanced(completions, labels, seed=0))


def test_texts_equal_but_for_case_punctuation_and_spacing_share_a_group():
    texts = ["I lost the money.", "No.", "i lost  the\nMONEY!", "no", "", "   ", "🎉", "😡"]
    assert duplicate_groups(texts).tolist() == [0, 1, 0, 1, 2, 2, 3, 4]


def jaccard(a, b):
    a, b = ({t[i : i + 5] for i in range(max(1, len(t) - 4))} for t in (a, b))
    return len(a & b) / len(a | b)


def test_groups_are_those_of_the_plain_definition():
    rng = random.Random(0)
    words = ["party", "saturday", "nothing", "we", "are", "cleaning", "flat", "the", "lost"]
    texts = [" ".join(rng.choices(words, k=rng.randint(1, 25))) for _ in range(60)]
    for text in list(texts):  # and near copies
        cut = rng.randint(0, len(text))
        texts.append(text[:cut] + rng.choice(["x", "", "ab"]) + text[cut:])
    group = list(range(len(texts)))
    for i, a in enumerate(texts):
        for j, b in enumerate(texts[:i]):
            if jaccard(" ".join(a.split()), " ".join(b.split())) >= 0.8 and group[i] != group[j]:
                group = [group[j] if g == group[i] else g for g in group]
    found = duplicate_groups(texts)
    assert 1 < len(set(group)) < len(texts)
    assert len(set(zip(group, found.tolist(), strict=True))) == len(set(group)) == found.max() + 1
    assert np.all(np.diff(np.unique(found, return_index=True)[1]) > 0)  # numbered as they appear


def test_a_chain_of_near_duplicates_is_one_group():
    base = "abcdefghijklmnopqrstuvwxyz" * 2
    chain = [base + "".join(str(k) for k in range(n)) for n in (0, 4, 8)]
    assert jaccard(chain[0], chain[2]) < 0.8 <= min(jaccard(*chain[:2]), jaccard(*chain[1:]))
    assert duplicate_groups(chain).tolist() == [0, 0, 0]
    assert duplicate_groups([chain[0], chain[2]]).tolist() == [0, 1]


def test_more_texts_than_are_compared_at_once():
    rng = random.Random(1)
    texts = ["".join(rng.choices("abcdefghij", k=30)) for _ in range(600)]
    groups = duplicate_groups([*texts, *texts])
    assert groups.tolist() == [*range(600), *range(600)]


def test_no_text_has_no_group():
    assert duplicate_groups([]).tolist() == []
