"""`python -m deception_saes`: what the Makefile calls.

It loads whatever a command may need. What a build starts often, `paper.planned`, loads little."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from deception_saes.errors import exit_code
from deception_saes.models.hub import fetch
from deception_saes.paper.build import build_book, make_section, run_own
from deception_saes.paper.plan import DEVICES, plan_text
from deception_saes.paper.profiles import PROFILES, profile_named
from deception_saes.paper.publish import publish
from deception_saes.paper.resampling import resample_profile
from deception_saes.paper.shared import clean_old
from deception_saes.paper.times import times_text
from deception_saes.paper.units import book_units
from deception_saes.paper.verify import verify
from deception_saes.store.files import ARTIFACTS_VARIABLE, artifacts_root
from deception_saes.tasks.judges import command as judge


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0, or 1 after a message for an error that a user can mend."""
    options = _parser().parse_args(arguments)
    # Snakemake and notebooks work in other folders, where a relative path would mean another place.
    os.environ[ARTIFACTS_VARIABLE] = str(artifacts_root())
    return exit_code(lambda: judge.run(options) if options.command == "judge" else _run(options))


def _run(options: argparse.Namespace) -> int:
    profile = profile_named(getattr(options, "profile", "embedded"))
    seed = profile.seed if getattr(options, "seed", None) is None else options.seed
    match options.command:
        case "fetch":
            for model in profile.models:
                fetch(model)
        case "book":
            print(build_book(profile, seed, options.cluster))
        case "resample":
            print(resample_profile(profile, seed, artifacts_root(), options.out))
        case "publish":
            print(publish(profile, seed, options.out, options.repo))
        case "verify":
            return verify(profile, seed, exact=options.exact, write=options.write)
        case "plan":
            print(plan_text(profile, seed, DEVICES[options.device]))
        case "key":
            print(book_units(profile, seed)["html"].spec.hash)
        case "times":
            print(times_text(profile, seed))
        case "section":
            own = dict(options.parameters)
            print(run_own(profile, seed, options.number, own) if own
                  else make_section(profile, seed, options.number))
        case "clean-old":
            print(clean_old())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deception_saes", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    book = commands.add_parser("book", help="build the whole book")
    book.add_argument("--cluster", type=Path, help="folder of a Snakemake profile to run by")
    fetch = commands.add_parser("fetch", help="fetch the profile's models from the hub")
    resample = commands.add_parser("resample", help="draw the completions of §17 anew")
    resample.add_argument("--out", type=Path, required=True, help="CSV file to write")
    section = commands.add_parser("section", help="run one section and its notebook")
    section.add_argument("number", type=int, help="23 for §23")
    section.add_argument("-p", nargs=2, action="append", dest="parameters", default=[],
                         metavar=("NAME", "VALUE"), help="a parameter of its notebook: run it "
                         "beside the book, with a value of your own")
    publish = commands.add_parser("publish", help="write the SAEs as a release; upload it")
    publish.add_argument("--out", type=Path, required=True, help="the release's folder")
    publish.add_argument("--repo", help="organisation/name on the hub, to upload it to")
    judge.add_arguments(commands.add_parser("judge", help="have completions judged by a server"))
    plan = commands.add_parser("plan", help="what a build would run and cost")
    plan.add_argument("--device", choices=DEVICES, default="cpu")
    key = commands.add_parser("key", help="print the hash of everything that decides the book")
    commands.add_parser("clean-old", help="drop results of calls that no book here uses any more")
    times = commands.add_parser("times", help="where a build's time went")
    verify = commands.add_parser("verify", help="compare a run with the reference results")
    verify.add_argument("--exact", action="store_true", help="to the last bit")
    verify.add_argument("--write", action="store_true", help="make this run the reference")
    for command in (book, fetch, resample, section, publish, plan, key, times, verify):
        command.add_argument("--profile", choices=PROFILES, default="embedded")
        command.add_argument("--seed", type=int, help="the profile's own if left out")
    return parser


if __name__ == "__main__":
    sys.exit(main())
