"""Which language models there are, where each comes from and how it is run."""
