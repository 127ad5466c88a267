"""TFX-style pipeline: from a folder of annotated images to a pushed, blessed model, with lineage."""
