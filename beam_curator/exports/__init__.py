"""What a finished output gives tools that do not read tars: embeddings with their rows, and lists of what is kept."""
