"""Residual-stream activations of chosen positions."""
