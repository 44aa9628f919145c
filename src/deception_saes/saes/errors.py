"""The one error of this folder."""

from deception_saes.errors import OneLine


class SaeError(OneLine, ValueError):
    """A sparse autoencoder's configuration, weights, file or training data are wrong. The message
    names the value, what was expected and what to do."""
