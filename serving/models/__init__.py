"""Which models and versions are loaded, and from where."""
