"""Edits of a model's insides: ablated heads, and later replaced residuals."""
