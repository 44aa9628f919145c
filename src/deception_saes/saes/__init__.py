"""Sparse autoencoders: architectures, training, the release's tags, SAELens files."""
