"""Models: the CLIP encoder, the score heads, and where their weights come from."""
