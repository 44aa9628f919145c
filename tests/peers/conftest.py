"""Tests in other projects' code, which `make test` runs in the environment of the peers.

Elsewhere they are not collected: `pytest tests/peers` then ends in an error, "no tests ran".
"""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("sae_lens") else ["test_*.py"]
