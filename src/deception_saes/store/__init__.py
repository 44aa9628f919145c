"""Files that are whole or absent, and computations that are made once per spec."""
