"""What a terminal sees: commands, flags, progress, errors."""
