"""Where a test keeps its artifacts."""

import os
from contextlib import contextmanager

from deception_saes.store.files import ARTIFACTS_VARIABLE


@contextmanager
def artifacts_at(folder):
    """While open, artifacts go there, those of processes that are started too."""
    before = os.environ.get(ARTIFACTS_VARIABLE)
    os.environ[ARTIFACTS_VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[ARTIFACTS_VARIABLE]
        else:
            os.environ[ARTIFACTS_VARIABLE] = before
