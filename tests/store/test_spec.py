import dataclasses
import hashlib
import itertools
import json
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest

from deception_saes.store import spec as spec_module
from deception_saes.store.files import PACKAGE_DIR
from deception_saes.store.spec import Spec, imported_files, imported_modules, plain


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Call it with modules and their code: specs then read those instead of this package's."""
    numbers = itertools.count()

    def write(**modules):
        folder = tmp_path / f"package{next(numbers)}"
        folder.mkdir()
        for name, code in modules.items():
            (folder / f"{name}.py").write_text(code, encoding="utf-8")
        monkeypatch.setattr(spec_module, "PACKAGE_DIR", folder)

    return write


def names(modules):
    return [path.stem for path in imported_files(modules)]


def hash_of_a():
    return Spec("unit", {}, ("deception_saes.a",), libraries=()).hash


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("1")
    return path


@pytest.fixture
def spec(data):
    return Spec("unit", {"seed": 0}, ("deception_saes.rng",), data=(data,), inputs=("aa",))


@pytest.mark.parametrize("change", [
    {"unit": "other"},
    {"params": {"seed": 1}},
    {"sources": ("deception_saes.store.files",)},
    {"data": ()},
    {"inputs": ("bb",)},
    {"inputs": ("aa", "bb")},
    {"libraries": ("torch",)},
])
def test_each_field_changes_the_hash(spec, change):
    assert dataclasses.replace(spec, **change).hash != spec.hash


def test_the_hash_is_stable_and_fits_a_file_name(spec):
    assert spec.hash == dataclasses.replace(spec).hash
    assert len(spec.hash) == 16
    assert spec.hash.isalnum()


def test_the_order_of_a_mapping_changes_the_hash(spec):
    """What a call makes of judges, of edits, may follow the order in which they stand."""
    one, other = (dict.fromkeys(names, 1) for names in ("ab", "ba"))
    hashes = [dataclasses.replace(spec, params={"of": of}).hash for of in (one, other)]
    assert hashes[0] != hashes[1]


def test_the_content_of_a_data_file_changes_the_hash(spec, data):
    before = spec.hash
    data.write_text("2")
    assert spec.hash != before


def test_the_hash_is_of_what_the_spec_describes_with_the_versions_of_libraries(spec):
    described = spec.describe()
    assert json.loads(described)["libraries"] == {
        name: version(name) for name in ("torch", "transformers")}
    assert hashlib.sha256(described.encode()).hexdigest().startswith(spec.hash)


def test_code_of_a_module_imported_by_an_imported_one_changes_the_hash(package):
    a, b = "from deception_saes import b\n", "from deception_saes.c import x\n"
    package(a=a, b=b, c="x = 1\n")
    before = hash_of_a()
    package(a=a, b=b, c="x = 2\n")
    assert hash_of_a() != before


def test_comments_and_layout_do_not_change_the_hash(package):
    package(a="from deception_saes.b import f\n", b="def f(x):\n    return x + 1\n")
    before = hash_of_a()
    package(a="# why\nfrom deception_saes.b import (\n    f,\n)\n",
            b="def f(x):\n\n    # one more\n    return (x+1)\n")
    assert hash_of_a() == before


def test_docstrings_and_the_text_of_errors_do_not_change_the_hash(package):
    code = """def f(x):
    {doc}
    if x < {least}:
        raise ValueError(f"{text} {{x}}", {code})
    return "{result}"
"""
    said = {"doc": "'''What it gives.'''", "text": "wrong:", "least": 0, "code": 1, "result": "a"}
    package(a=code.format(**said))
    before = hash_of_a()
    for change in ({"doc": "'''Something else.'''"}, {"text": "not right:"}):
        package(a=code.format(**said | change))
        assert hash_of_a() == before
    for change in ({"least": 1}, {"code": 2}, {"result": "b"}):
        package(a=code.format(**said | change))
        assert hash_of_a() != before


def test_an_edit_is_seen_by_a_process_that_has_read_the_module_before(package, tmp_path):
    package(a="x = 1\n")
    before = hash_of_a()
    (module,) = tmp_path.glob("package*/a.py")
    module.write_text("x = 22\n")
    assert hash_of_a() != before
    module.write_text("x = 1\n")
    assert hash_of_a() == before


def test_code_that_is_not_imported_does_not_change_the_hash(package):
    package(a="x = 1\n", b="y = 1\n")
    before = hash_of_a()
    package(a="x = 1\n", b="y = 2\n")
    assert hash_of_a() == before


@pytest.mark.parametrize("statement", [
    "import deception_saes.b",
    "import deception_saes.b as short",
    "from deception_saes import b",
    "from deception_saes.b import anything",
    "def f():\n    from deception_saes.b import anything",
    "try:\n    import deception_saes.b\nexcept ImportError:\n    pass",
    "if TYPE_CHECKING:\n    pass\nelse:\n    import deception_saes.b",
])
def test_every_way_of_importing_counts(package, statement):
    package(a=f"{statement}\n", b="")
    assert names(["deception_saes.a"]) == ["a", "b"]


@pytest.mark.parametrize("statement", [
    "if TYPE_CHECKING:\n    from deception_saes.b import B",
    "if typing.TYPE_CHECKING:\n    import deception_saes.b",
    "import json, numpy",
])
def test_imports_for_types_and_of_other_packages_do_not_count(package, statement):
    package(a=f"{statement}\n", b="")
    assert names(["deception_saes.a"]) == ["a"]


def test_two_modules_may_import_each_other(package):
    package(a="import deception_saes.b", b="import deception_saes.a")
    assert names(["deception_saes.a"]) == ["a", "b"]


def test_a_relative_import_is_an_error_that_names_its_line(package):
    package(a="x = 1\nfrom .b import y\n", b="y = 1\n")
    with pytest.raises(ImportError, match=r"a\.py:2"):
        names(["deception_saes.a"])


def test_a_module_that_does_not_exist_is_an_error():
    with pytest.raises(ModuleNotFoundError, match=r"deception_saes\.nowhere"):
        imported_files(["deception_saes.nowhere"])


def files_of(module):
    return {str(path.relative_to(PACKAGE_DIR)) for path in imported_files([module])}


def test_the_closure_of_an_experiment_holds_what_computes_it_and_no_section_page_or_wording():
    files = files_of("deception_saes.experiments.asking")
    assert {"experiments/asking.py", "experiments/task.py", "cache.py", "models/forward.py",
            "models/convert.py", "tasks/scoring.py", "analysis/bootstrap.py", "rng.py",
            "__init__.py"} <= files
    assert not {name for name in files if name.startswith("paper/")}
    reading = {name for name in files if "FRAMINGS[" in (PACKAGE_DIR / name).read_text("utf-8")}
    assert reading == set()  # a call is given its framing


def test_what_a_file_imports_itself_is_known(package, tmp_path):
    package(a="from deception_saes import b\n", b="import deception_saes.c\n", c="")
    script = tmp_path / "notebook.py"
    script.write_text("import json\nfrom deception_saes.a import x\n")
    assert imported_modules(script) == ("deception_saes.a",)


@dataclass(frozen=True)
class One:
    x: int


@dataclass(frozen=True)
class Two:
    x: int


def test_dataclasses_of_equal_fields_are_told_apart():
    assert plain(One(1)) != plain(Two(1))


def test_nested_data_becomes_plain():
    assert plain({"a": (One(1), None, True)}) == {"a": [{"type": "One", "x": 1}, None, True]}


def test_what_json_has_no_word_for_is_an_error():
    with pytest.raises(TypeError, match="object"):
        plain({"when": object()})


@pytest.mark.parametrize("other", [
    np.array([1.0, 3.0]), np.array([1.0, 2.0], dtype=np.float32), np.array([[1.0, 2.0]]),
    pd.DataFrame({"a": [1.0, 2.0]}), [1.0, 2.0],
])
def test_arrays_are_told_apart_by_content_type_and_shape(other):
    assert plain(np.array([1.0, 2.0])) == plain(np.array([1.0, 2.0]))
    assert plain(other) != plain(np.array([1.0, 2.0]))


@pytest.mark.parametrize("other", [
    pd.DataFrame({"a": [1.0, 3.0]}), pd.DataFrame({"b": [1.0, 2.0]}),
    pd.DataFrame({"a": [1.0 + 1e-15, 2.0]}),
])
def test_tables_are_told_apart_by_their_columns_and_to_the_last_bit(other):
    assert plain(pd.DataFrame({"a": [1.0, 2.0]})) == plain(pd.DataFrame({"a": [1.0, 2.0]}))
    assert plain(other) != plain(pd.DataFrame({"a": [1.0, 2.0]}))


def test_of_a_long_list_every_item_counts_and_none_is_written_down(spec):
    items = [f"item {number}" for number in range(100)]
    long = dataclasses.replace(spec, params={"items": items})
    changed = dataclasses.replace(spec, params={"items": [*items[:50], "another", *items[51:]]})
    assert long.hash != changed.hash
    assert "item 3" not in long.describe()
    assert '"length": 100' in long.describe()


def test_whether_others_stay_beside_it_does_not_change_the_hash(spec):
    assert dataclasses.replace(spec, side_by_side=True).hash == spec.hash
    assert dataclasses.replace(spec, pinned=True).hash != spec.hash


@dataclasses.dataclass(frozen=True)
class Several:
    a: int = 0
    b: int = 0
    c: int = 0


@pytest.mark.parametrize("field", ["a", "b", "c"])
def test_each_field_of_a_dataclass_counts(field):
    assert plain(Several(**{field: 1})) != plain(Several())
