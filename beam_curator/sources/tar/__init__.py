"""All that knows the tar format."""
