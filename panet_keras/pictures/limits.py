"""The one limit on a picture's size, for pictures, masks and DICOM frames alike."""

from panet_keras.pictures.rules import rgb

MAX_PIXELS = rgb.MAX_PIXELS
"""Pictures with more pixels are refused before they are decoded: a small file can hold a huge picture. Read
where it is asked for, so that setting it here holds everywhere."""
