"""Acceptance on one's own pictures: what a hospital looks at before a model may be used there."""
