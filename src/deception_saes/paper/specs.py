"""What decides a section's results, and its page."""

from __future__ import annotations

import ast
import hashlib
from dataclasses import replace
from importlib import import_module
from typing import Any

from deception_saes.cache import LIBRARIES as CALL_LIBRARIES
from deception_saes.cache import Cached
from deception_saes.models.load import at_commit, weights_hash
from deception_saes.paper.catalogue import Section
from deception_saes.paper.claims import CLAIMS
from deception_saes.paper.notebooks import source_of
from deception_saes.paper.profiles import Profile
from deception_saes.paper.settings import Settings
from deception_saes.paper.shared import shared_calls
from deception_saes.paper.source_checks import TAGS
from deception_saes.store.files import PACKAGE_DIR
from deception_saes.store.spec import Spec, imported_modules

PAGE_LIBRARIES = ("papermill", "matplotlib", "pandas")

_SHOWN = ("opening", "figure", "table", "quotations", "tokens", "say")
"""What a notebook calls to show something: it decides no result."""

_READ = ("tasks/data/completions.csv", "tasks/data/labels.csv")
"""What decides the results of sections on completions, beside what their calls are made with."""


def modules_of(section: Section) -> tuple[str, ...]:
    """The modules of this package that the notebook imports."""
    return imported_modules(source_of(section))


def experiment_hash(section: Section) -> str:
    """Of the notebook's code, without prose and without what only shows results."""
    parsed = ast.parse(source_of(section).read_text(encoding="utf-8"))
    code = [statement for statement in parsed.body if not _shows(statement)]
    return hashlib.sha256(ast.dump(ast.Module(code, [])).encode()).hexdigest()[:16]


def results_spec(section: Section, profile: Profile, seed: int) -> Spec:
    """What decides the section's results; prose does not. Loads no model."""
    settings = Settings(section.number, profile, seed)
    asked = replace(profile, seconds={}, fuller=None, jobs=1,
                    models=tuple(map(at_commit, profile.models)))
    calls = shared_calls(section.number, profile, seed)
    declaring = cached_of(section)
    return Spec(
        section.key,
        {"profile": asked, "seed": seed, "experiment": experiment_hash(section),
         "missing": settings.missing},
        sources=tuple(module for module in modules_of(section)
                      if not module.startswith("deception_saes.paper")),
        data=tuple({*(PACKAGE_DIR / name for name in _READ if settings.reads),
                    *(path for function in declaring for path in function.data)}),
        inputs=(*(call.spec.hash for call in calls.values()),
                *(hash for model in asked.models if model.slug not in settings.missing
                  for hash in weights_hash(model))),
        libraries=tuple(sorted({name for function in declaring
                                for name in (*CALL_LIBRARIES, *function.libraries)})))


def cached_of(section: Section) -> list[Cached[..., Any]]:
    """The cached functions of the modules that the notebook imports."""
    return [of for name in modules_of(section) for of in vars(import_module(name)).values()
            if isinstance(of, Cached)]


def _shows(statement: ast.stmt) -> bool:
    call = statement.value if isinstance(statement, ast.Expr) else None
    return (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
            and call.func.attr in _SHOWN)


def notebook_spec(section: Section, profile: Profile, seed: int) -> Spec:
    """What decides the executed notebook: its results, its prose and what draws its figures."""
    results = results_spec(section, profile, seed).hash
    return Spec(
        unit=f"notebook-{section.key}",
        params={"profile": profile.name, "seed": seed, "results": results},
        sources=modules_of(section),
        data=(source_of(section), CLAIMS, TAGS),
        inputs=(results,),
        libraries=PAGE_LIBRARIES,
    )
