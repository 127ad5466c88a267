"""Annotate a few images once, then segment any number of others."""

from panet_keras.inference.segmenter import FewShotSegmenter, Segmentation, open_segmenter

__all__ = ["FewShotSegmenter", "Segmentation", "open_segmenter"]
