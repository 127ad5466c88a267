"""How much of a frame decides whether it has a lesion; without TensorFlow, for the page judges by it, too."""

PRESENCE_SHARE = 0.001
"""Presence is the mean probability over this share of the frame, where it is highest."""
