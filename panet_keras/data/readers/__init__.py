"""One module for each layout of annotated images on disk."""
