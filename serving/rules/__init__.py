"""The rules by which a file becomes a picture or a mask, with Pillow and numpy, and pydicom for DICOM alone.

The client of the server obeys them too and may import neither this library nor TensorFlow, so `serving/rules`
holds the same files, byte for byte (tests/panet_keras/test_doors.py). Change both: `cp
panet_keras/pictures/rules/*.py serving/rules/`.
"""
