"""Which language models there are, and how each is had and run."""
