"""`python -m deception_saes`: what the Makefile and the workflow call."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from deception_saes.models.spec import ModelUnavailable
from deception_saes.sections.profiles import PROFILES, profile_named
from deception_saes.store.files import ARTIFACTS_VARIABLE, artifacts_root
from deception_saes.tasks.judges import command as judge


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0, or 1 after a message for an error that a user can mend."""
    options = _parser().parse_args(arguments)
    if options.command == "judge":
        return judge.run(options)
    profile = profile_named(options.profile)
    seed = profile.seed if options.seed is None else options.seed
    # Snakemake and notebooks work in other folders, where a relative path would mean another place.
    os.environ[ARTIFACTS_VARIABLE] = str(artifacts_root())
    from deception_saes.models.hub import fetch
    from deception_saes.paper.build import BuildFailed, build_book
    from deception_saes.paper.units import NotebookFailed, book_units
    from deception_saes.saes.errors import SaeError
    from deception_saes.tasks.completions import CompletionFileError
    from deception_saes.tasks.resampling import ResampleError
    from deception_saes.tasks.scenarios import ScenarioFileError

    try:
        if options.command == "fetch":
            for model in profile.models:
                fetch(model)
        elif options.command == "book":
            print(build_book(profile, seed))
        elif options.command == "resample":
            from deception_saes.sections.resampling import resample_profile

            print(resample_profile(profile, seed, artifacts_root(), options.out))
        elif options.command == "publish":
            from deception_saes.paper.publish import publish

            print(publish(profile, seed, options.out, options.repo))
        elif options.command == "section":
            units = book_units(profile, seed)
            name = f"s{options.number}"
            if name not in units:
                written = ", ".join(unit[1:] for unit in units if unit[1:].isdigit())
                raise BuildFailed(f"§{options.number} is not in this book; written: {written}")
            for unit in (units[name], units[f"notebook-{name}"]):
                unit.make()
            print(units[name].tree / "results" / f"{name}.json")
        else:
            book_units(profile, seed)[options.unit].make()
    except (BuildFailed, CompletionFileError, ModelUnavailable, NotebookFailed, ResampleError,
            SaeError, ScenarioFileError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deception_saes", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    book = commands.add_parser("book", help="build the whole book")
    fetch = commands.add_parser("fetch", help="fetch the profile's models from the hub")
    resample = commands.add_parser("resample", help="draw the completions of §17 anew")
    resample.add_argument("--out", type=Path, required=True, help="CSV file to write")
    section = commands.add_parser("section", help="run one section and its notebook")
    section.add_argument("number", type=int, help="23 for §23")
    publish = commands.add_parser("publish", help="write the SAEs as a release; upload it")
    publish.add_argument("--out", type=Path, required=True, help="the release's folder")
    publish.add_argument("--repo", help="organisation/name on the hub, to upload it to")
    judge.add_arguments(commands.add_parser("judge", help="have completions judged by a server"))
    make = commands.add_parser("make", help="make one unit of the workflow")
    make.add_argument("unit")
    for command in (book, fetch, resample, section, publish, make):
        command.add_argument("--profile", choices=PROFILES, default="embedded")
        command.add_argument("--seed", type=int, help="the profile's own if left out")
    return parser


if __name__ == "__main__":
    sys.exit(main())
