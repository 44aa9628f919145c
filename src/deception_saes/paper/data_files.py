"""The data page: every CSV of the book with its dictionary, and one zip of all of them."""

from __future__ import annotations

import csv
import html
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from deception_saes.paper.catalogue import Section
from deception_saes.paper.record import results_name
from deception_saes.paper.results import Results, Value
from deception_saes.store.files import guarded, write_atomic

COLUMNS_FILE = Path(__file__).parent / "data" / "columns.csv"
"""The dictionary: file, column, unit, meaning. A row without a column is about the file; the file
`*` stands for every file, the column `*` for every column that is not named."""

_PACKAGE = Path(__file__).parents[1]
PACKAGED = (*sorted((_PACKAGE / "tasks" / "data").glob("*.csv")),
            _PACKAGE / "paper" / "data" / "published_claims.csv", COLUMNS_FILE)
"""The CSV files that come with the code."""

ZIP = "book-data.zip"
_README = """The data of the book: CSV files that its figures are drawn from, results/sNN.json as
each section wrote them, and columns.csv, which says what every column means. UTF-8, rows end in a
line feed; a text may hold line breaks, and is quoted then. An empty cell is a missing value. In
sNN_*.csv an apostrophe stands before a text that a spreadsheet would take for a formula. Licence:
MIT; the completions were sampled from SmolLM2-135M-Instruct (Apache-2.0).
"""
_NAMED_APART = 5
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold: the same bytes every time


@dataclass(frozen=True)
class Meaning:
    """What a column, or a file, holds."""

    unit: str
    meaning: str


@dataclass(frozen=True)
class DataFile:
    """A published CSV."""

    name: str
    section: Section | None
    """None for those that come with the code."""
    about: str
    rows: int
    bytes: int
    columns: dict[str, Meaning]
    """By name."""

    @property
    def key(self) -> str:
        """The file's name in the dictionary: that of all tables of values is the same."""
        return _file_key(self.name)


def publish_data(
    static: Path, tree: Path, sections: Sequence[Section], results: Sequence[Results]
) -> list[DataFile]:
    """Write every CSV into `static/data`, and the zip of all.

    tree: the profile's, with the sections' tables. Raises ValueError for a file or a column that
    the dictionary does not describe.
    """
    by_number = {of.section: of for of in results}
    texts: dict[str, tuple[Section | None, str]] = {
        path.name: (None, path.read_text(encoding="utf-8")) for path in PACKAGED}
    for section in sections:
        of = by_number[section.number]
        if of.status != "done":
            continue
        for path in sorted((tree / "figures").glob(f"{section.key}_*.csv")):
            texts[path.name] = (section, path.read_text(encoding="utf-8"))
        texts[f"{section.key}_values.csv"] = (section, _values_csv(of.values))
    own = _of_tables(tree / "figures")
    dictionary = read_dictionary() | own
    texts[COLUMNS_FILE.name] = (None, texts[COLUMNS_FILE.name][1] + _dictionary_rows(own))
    files = [_described(name, section, text, dictionary)
             for name, (section, text) in texts.items()]
    for name, (_, text) in texts.items():
        write_atomic(static / "data" / name, text)
    records = {results_name(section): (tree / results_name(section)).read_text(encoding="utf-8")
               for section in sections}
    write_atomic(static / "data" / ZIP, _zipped(
        {name: text for name, (_, text) in texts.items()} | records | {"README.txt": _README}))
    return files


def size_of_zip(static: Path) -> str:
    """"1.2 MB"."""
    return _size((static / "data" / ZIP).stat().st_size)


def read_dictionary() -> dict[tuple[str, str], Meaning]:
    """Meanings by file and column. Raises ValueError if a row stands twice."""
    found: dict[tuple[str, str], Meaning] = {}
    with COLUMNS_FILE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            key = (row["file"], row["column"])
            if key in found:
                raise ValueError(f"{COLUMNS_FILE.name}: {key[0]}, {key[1]!r} stands twice")
            found[key] = Meaning(row["unit"], row["meaning"])
    return found


def _of_tables(folder: Path) -> dict[tuple[str, str], Meaning]:
    """What tables that notebooks have made say of themselves."""
    return {(path.stem, column): Meaning(*of) for path in sorted(folder.glob("*.json"))
            for column, of in json.loads(path.read_text(encoding="utf-8")).items()}


@cache
def described_for_all() -> frozenset[str]:
    """Columns that mean the same in every table, which need not describe them."""
    return frozenset(column for file, column in read_dictionary() if file == "*")


def _dictionary_rows(dictionary: dict[tuple[str, str], Meaning]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(
        (*key, of.unit, of.meaning) for key, of in dictionary.items())
    return out.getvalue()


def data_page(files: Sequence[DataFile]) -> str:
    """MyST: every file by section with a link, its size and its columns."""
    parts = []
    for section in dict.fromkeys(file.section for file in files):
        title = "With the code" if section is None else f"§{section.number} {section.title}"
        parts += [f"## {title}", "", *(_shown(file) for file in files if file.section == section)]
    return "\n".join(parts) + "\n"


def _shown(file: DataFile) -> str:
    columns = "".join(
        f"<dt>{names}" + (f" <span class=\"why\">{html.escape(of.unit)}</span>" if of.unit else "")
        + f"</dt><dd>{html.escape(of.meaning)}</dd>" for names, of in _together(file.columns))
    link = (f'<a href="../_static/data/{quote(file.name)}" download>'
            f"{html.escape(file.name)}</a>")
    return (f'<div class="datafile"><p>{link} '
            f'<span class="why">{file.rows:,} rows, {_size(file.bytes)}</span><br>'
            f"{html.escape(file.about)}</p><details><summary>{len(file.columns)} columns</summary>"
            f"<dl>{columns}</dl></details></div>\n")


def _together(columns: dict[str, Meaning]) -> Iterator[tuple[str, Meaning]]:
    """Names as HTML, neighbours of one meaning together: a file may have a column a question."""
    for of, group in groupby(columns.items(), key=lambda item: item[1]):
        names = [f"<code>{html.escape(name)}</code>" for name, _ in group]
        few = len(names) <= _NAMED_APART
        yield (", ".join(names) if few else
               f"{names[0]} … {names[-1]}, {len(names)} columns"), of


def _described(
    name: str, section: Section | None, text: str, dictionary: dict[tuple[str, str], Meaning]
) -> DataFile:
    rows = csv.reader(io.StringIO(text, newline=""))
    head = next(rows)
    key = _file_key(name)
    missing = [column for column in head if _key(key, column, dictionary) not in dictionary]
    if missing or (key, "") not in dictionary:
        what = f"the column {missing[0]!r} of {name}" if missing else f"the file {name}"
        raise ValueError(f"{what} is not described; say it where the table is made, by "
                         f"`tidy.described`, or in a row of paper/data/{COLUMNS_FILE.name}: "
                         f"{key},{missing[0] if missing else ''},unit,meaning")
    return DataFile(name, section, dictionary[key, ""].meaning, sum(1 for _ in rows),
                    len(text.encode()),
                    {column: dictionary[_key(key, column, dictionary)] for column in head})


def _file_key(name: str) -> str:
    stem = name.removesuffix(".csv")
    return "values" if stem.endswith("_values") else stem


def _key(
    file: str, column: str, dictionary: dict[tuple[str, str], Meaning]
) -> tuple[str, str]:
    """The row of the dictionary that describes a column: its own, everyone's, or the rest's."""
    return next((key for key in ((file, column), ("*", column)) if key in dictionary), (file, "*"))


def _values_csv(values: Sequence[Value]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow([field.name for field in fields(Value)])
    for value in values:
        writer.writerow([guarded(cell) if isinstance(cell, str) else cell
                         for cell in asdict(value).values()])
    return out.getvalue()


def _zipped(texts: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(texts):
            entry = zipfile.ZipInfo(name, _EARLIEST)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, texts[name], zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
