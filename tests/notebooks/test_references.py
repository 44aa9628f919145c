"""What the experiments' notebooks refer to in their texts: each `[[id]]` is one that is there."""

import ast
import csv
import re

import pytest

from deception_saes.paper.book import SAID
from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.claims import load_claims
from deception_saes.paper.notebooks import source_of
from deception_saes.paper.plots import swap_captions
from deception_saes.paper.profiles import profile_named
from deception_saes.paper.reference import reference_file

EXPERIMENTS = list(SECTIONS.values())
SWAPS = (24, 26, 31)

_REFERENCE = re.compile(r"\[\[([^\]|]+)(?:\|(n|value))?\]\]")
_PLACEHOLDER = re.compile(r"\{[^}]*\}")


def parsed(section):
    return ast.parse(source_of(section).read_text(encoding="utf-8"))


def shared(tree):
    """What the notebook imports of swap_captions, by name."""
    return {alias.name: getattr(swap_captions, alias.name) for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == swap_captions.__name__
            for alias in node.names}


def calls(tree, *names):
    """Calls of these methods of `book`."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute) and node.func.attr in names
            and getattr(node.func.value, "id", None) == "book"]


def texts(section):
    """Everything that a notebook says with references in it, captions and alternative texts too."""
    tree = parsed(section)
    found = [node.value for call in calls(tree, "say", "figure", "table", "quotations", "tokens")
             for node in ast.walk(call) if isinstance(node, ast.Constant)
             and isinstance(node.value, str)]
    for name, of in shared(tree).items():
        if isinstance(of, str):
            found.append(of)
        elif isinstance(of, dict):
            found += [text for key in used(tree, name) for text in of[key].values()
                      if isinstance(text, str)]
    return found


def used(tree, name):
    """Keys by which the notebook takes something out of a dictionary."""
    return {node.slice.value for node in ast.walk(tree) if isinstance(node, ast.Subscript)
            and getattr(node.value, "id", None) == name}


def templates(section):
    """What ids the notebook reports, a {placeholder} for what rows fill in."""
    tree = parsed(section)
    trees = [tree]
    functions = {name for name, of in shared(tree).items() if callable(of)}
    if functions:
        with open(swap_captions.__file__, encoding="utf-8") as file:  # noqa: PTH123
            trees += [node for node in ast.parse(file.read()).body
                      if isinstance(node, ast.FunctionDef) and node.name in functions]
    found = set()
    for of in trees:
        texts = {node.targets[0].id: node.value.value for node in ast.walk(of)
                 if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
                 and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)}
        for call in calls(of, "report", "number"):
            given = {key.arg: key.value for key in call.keywords}
            place = {"report": 2, "number": 0}[call.func.attr]
            id = given.get("id", call.args[place] if len(call.args) > place else None)
            if id is not None:
                found.add(as_template(id, texts))
    return found


def as_template(node, texts):
    """The text of a literal, of an f-string or of a sum, with the texts that have names, and a
    placeholder for each other expression."""
    if isinstance(node, ast.BinOp):
        return as_template(node.left, texts) + as_template(node.right, texts)
    if isinstance(node, ast.Name):
        return texts.get(node.id, "{}")
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant)
                       else texts.get(getattr(part.value, "id", None), "{}")
                       for part in node.values)
    return ast.literal_eval(node)


def ids_of_reference(section):
    """Ids of the section's values in the embedded profile's reference, behind its model."""
    with reference_file(profile_named("embedded"), 0).open(encoding="utf-8", newline="") as file:
        whole = [row["id"].split(".", maxsplit=2) for row in csv.DictReader(file)]
    return {rest for key, _, rest in whole if key == f"s{section.number}"}


def filled(template, id):
    """What the placeholders of a template stand for in an id, in parts; None if it is another."""
    literals = map(re.escape, _PLACEHOLDER.split(template))
    match = re.fullmatch("(.+?)".join(literals), id)
    return None if match is None else {
        part for covered in match.groups() for part in covered.split(".")}


def is_reported(id, reported, reference):
    """Whether a template gives this id with parts that placeholders stand for somewhere in the
    reference: in ids of the same template, or if it has none of these yet, in any."""
    for template in reported:
        parts = filled(template, id)
        if parts is None:
            continue
        known = set().union(*(filled(template, other) or set() for other in reference))
        if parts <= (known or {part for other in reference for part in other.split(".")}):
            return True
    return False


def unknown(text, reported, reference):
    """References of the text to what nobody has reported, and what only looks like a reference."""
    found = []
    for match in _REFERENCE.finditer(text):
        id, part = match.groups()
        if not (id in load_claims() or (part is None and id in SAID)
                or is_reported(id, reported, reference)):
            found.append(id)
    return found + re.findall(r".{0,9}(?:\[\[|\]\]).{0,9}", _REFERENCE.sub("", text))


@pytest.mark.parametrize("section", EXPERIMENTS, ids=lambda section: section.key)
def test_every_reference_is_to_a_claim_a_parameter_or_a_value_that_is_reported(section):
    reported, reference = templates(section), ids_of_reference(section)
    found = texts(section)
    assert sum(len(_REFERENCE.findall(text)) for text in found) >= 5
    assert [id for text in found for id in unknown(text, reported, reference)] == []


@pytest.mark.parametrize("section", EXPERIMENTS, ids=lambda section: section.key)
def test_prose_that_nobody_fills_in_holds_no_reference(section):
    lines = source_of(section).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("#") and "[[" in line] == []


@pytest.mark.parametrize("section", EXPERIMENTS, ids=lambda section: section.key)
def test_every_id_in_the_reference_is_one_that_the_notebook_reports(section):
    reported = templates(section)
    ids = sorted(ids_of_reference(section))
    assert ids
    assert [id for id in ids if all(filled(template, id) is None for template in reported)] == []


@pytest.mark.parametrize(("number", "text", "found"), [
    (27, "[[top1.sandbag]] and [[top5.genuine|n]], [[early|value]]", []),
    (27, "[[S-09]], with [[n_heads]] heads", []),
    (27, "[[top1.sandbg]]", ["top1.sandbg"]),
    (27, "[[top9.sandbag|n]]", ["top9.sandbag"]),
    (27, "[[topp1.sandbag]]", ["topp1.sandbag"]),
    (27, "[[suppressors.sandbag]] of [[supressors.sandbag|n]]", ["supressors.sandbag"]),
    (27, "[[early.sandbag]]", ["early.sandbag"]),
    (27, "[[S-99]]", ["S-99"]),
    (27, "[[n_head]]", ["n_head"]),
    (27, "[[n_heads|n]]", ["n_heads"]),  # a parameter rests on no questions
    (27, "[[top1.sandbag|m]]", ["[[top1.sand", "bag|m]]"]),
    (23, "[[two_shot_labelled.answerable.p_correct.genuine_minus_sandbag]]", []),
    (23, "[[two_shot_labelled.answerable.p_corect.genuine_minus_sandbag]]",
     ["two_shot_labelled.answerable.p_corect.genuine_minus_sandbag"]),
    (28, "[[gap.layer_matched]] and [[best3]]", []),
    (28, "[[gap.layer-matched]] and [[best9]]", ["gap.layer-matched", "best9"]),
    (31, "[[headline.jumprelu.margin]], [[count.all.different|value]]", []),
    (31, "[[headline.jumprellu.margin]], [[count.all.diferent|value]]",
     ["headline.jumprellu.margin", "count.all.diferent"]),
    (31, "[[seeds.E6-E4]]", ["seeds.E6-E4"]),  # §24 alone trains with other seeds
    (24, "[[seeds.E6-E4]]", []),
])
def test_a_wrong_reference_would_be_found_by_its_name(number, text, found):
    section = SECTIONS[number]
    assert unknown(text, templates(section), ids_of_reference(section)) == found


@pytest.mark.parametrize("name", ["FIGURES", "TABLES"])
def test_every_caption_that_the_swaps_share_is_shown(name):
    by_section = {number: used(parsed(SECTIONS[number]), name) for number in SWAPS}
    assert by_section[24] == getattr(swap_captions, name).keys()
    assert by_section[26] == by_section[24] - {"seeds", "doses", "all_positions"}
    assert by_section[31] == by_section[26] - {"forest", "top_features"}


# §24, §26 and §31 are one experiment


OF_FIRST = {"again", "seeds", "spread", "frozen_decoder", "tag", "everywhere", "at_all",
            "ALL_POSITIONS", "on_sandbag", "doses"}
ARGUMENTS_OF_FIRST = {"frozen_decoder", "frozen_at", "on_sandbag"}


def code(section):
    """The notebook's statements as text, its number and its claim left out; and what it imports."""
    imports, statements = set(), []
    for statement in parsed(section).body:
        if isinstance(statement, ast.ImportFrom):
            imports |= {(statement.module, alias.name) for alias in statement.names}
            continue
        for call in ast.walk(statement):
            if isinstance(call, ast.Call):
                call.keywords = [of for of in call.keywords if of.arg not in ARGUMENTS_OF_FIRST]
        text = ast.unparse(statement)
        text = re.sub(rf"(open_section\(){section.number}\b", r"\1number", text)
        statements.append(re.sub(r"(claim=|: )'S-0\d'", r"\1claim", text))
    return imports, statements


def of_first(statement):
    names = {getattr(node, "id", getattr(node, "attr", None))
             for node in ast.walk(ast.parse(statement))}
    return bool(OF_FIRST & names)


def names_in(statements):
    return {node.id for node in ast.walk(ast.parse("\n".join(statements)))
            if isinstance(node, ast.Name)}


def test_two_swaps_are_one_experiment_but_for_what_the_first_does_more():
    by_section = {number: code(SECTIONS[number]) for number in SWAPS}
    imports, statements = by_section[24]
    same = [statement for statement in statements if not of_first(statement)]
    assert same == by_section[26][1]
    assert len(same) > 20
    assert len(same) < len(statements)
    more = imports - by_section[26][0]
    assert by_section[26][0] <= imports
    assert {name for _, name in more} <= names_in(statements) - names_in(same)


def assigned(statements):
    """What is assigned: entries of dictionaries, or the text of another value, by its name."""
    found = {}
    for node in ast.parse("\n".join(statements)).body:
        if isinstance(node, ast.Assign):
            items = (zip(node.value.keys, node.value.values, strict=True)
                     if isinstance(node.value, ast.Dict) else [(None, node.value)])
            found[ast.unparse(node.targets[0])] = {
                (key and ast.unparse(key), ast.unparse(value)) for key, value in items}
    return found


def test_the_third_swap_is_a_part_of_the_second():
    (imports, whole), (less, part) = (code(SECTIONS[number]) for number in (26, 31))
    assert less < imports
    of_whole, of_part = assigned(whole), assigned(part)
    edits = {"edits", "drawn", "without_sae"}
    for name in edits:
        assert of_part[name] < of_whole[name]
    other = [statement for statement in part if statement not in whole]
    assert len(other) == len(edits) + 4  # calls that take fewer edits, its depths, what is its own
    assert [name for name in ("depths=book.depths", "[[subject]]", "swap_figures.forest")
            if not any(name in statement for statement in other)] == []


@pytest.mark.parametrize(("number", "claim"), [(24, "S-04"), (26, "S-05"), (31, "S-06")])
def test_each_swap_opens_its_own_section_and_answers_its_own_claim(number, claim):
    text = source_of(SECTIONS[number]).read_text(encoding="utf-8")
    assert re.findall(r"open_section\((\d+),", text) == [str(number)]
    assert re.findall(r"S-0\d", text) == [claim]
    assert load_claims()[claim].section.partition(".")[0] == str(number)
