"""What notebooks call: keyword arguments in, tables and arrays out, expensive calls kept."""
