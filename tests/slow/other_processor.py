"""Build the smoke book as this processor does and as if MKL had AVX2 alone, and compare: part of
`make torture`.

    python tests/slow/other_processor.py FOLDER

What is made in pinned processes must be the same to the last bit, every value within the tolerance
of `make verify`. MKL_ENABLE_INSTRUCTIONS emulates for MKL only: torch's own kernels see the
processor that is there. On one without AVX-512 both builds are the same and nothing is shown.
"""

import argparse
import os
from pathlib import Path

import builds

from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.made import made, pinned_digests
from deception_saes.paper.profiles import profile_named
from deception_saes.paper.record import results_name
from deception_saes.paper.reference import differences
from deception_saes.paper.results import read_results
from deception_saes.store.files import ARTIFACTS_VARIABLE


def main(folder):
    profile = profile_named("smoke")
    trees, files = [], []
    for name, variables in (("as-it-is", {}), ("emulated", {"MKL_ENABLE_INSTRUCTIONS": "AVX2"})):
        code, said = builds.build(folder / name, **variables)
        builds.expect(code == 0, f"build {name}\n" + (said if code else ""))
        trees.append(folder / name / profile.name)
        os.environ[ARTIFACTS_VARIABLE] = str(folder / name)
        files.append(pinned_digests(made(profile, profile.seed, trees[-1])))
    differing = [name for name in files[0] if files[0][name] != files[1].get(name)]
    builds.expect(files[0].keys() == files[1].keys() and not differing,
                  f"{len(files[0])} files of models, activations and SAEs, equal to the last bit "
                  f"{differing[:5]}")
    results = [[read_results(tree / results_name(section)) for section in SECTIONS.values()]
               for tree in trees]
    exact, beyond = (differences(*results, exact=exact) for exact in (True, False))
    builds.expect(not beyond, f"{len(exact)} numbers differ in their last bits, "
                  f"{len(beyond)} beyond the tolerance {[str(of) for of in beyond[:5]]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    main(parser.parse_args().folder.resolve())
