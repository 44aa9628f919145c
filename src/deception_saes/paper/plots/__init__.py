"""The figures and tables of each section, drawn from its results and tables."""
