"""What the tests of §20 to §22 read."""

import pytest

from deception_saes.sections.behaviour_saes import behaviour_sae_params
from deception_saes.sections.run import Work


@pytest.fixture(scope="session")
def behavioural_saes(smoke):
    """Parameters of the smoke profile's behavioural SAEs."""
    return behaviour_sae_params(smoke, smoke.seed, smoke.models, {})


@pytest.fixture(scope="session")
def smoke_work(artifacts):
    """The smoke profile's tree, where sections that have run left their parts."""
    return Work(artifacts, artifacts / "smoke", {})
