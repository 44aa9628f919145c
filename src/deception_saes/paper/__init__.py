"""Turning results into the book: claims, figures, pages, staging and running."""
