"""What the tests of experiments on completions read."""

import pytest

from deception_saes.paper.settings import Settings


@pytest.fixture(scope="session")
def saes(artifacts, smoke):
    """The SAEs that §20 to §22 are about, under the smoke profile."""
    return Settings(20, smoke, smoke.seed).behavioural_saes
