"""The statistics of the book."""
