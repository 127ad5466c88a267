"""tf.train.Examples of annotated frames, and back."""

import os
import pathlib

import tensorflow as tf

from panet_keras.data.records import Record
from panet_keras.errors import DataError
from panet_keras.pictures.decode import encode_png, is_plain_png

FEATURES = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "mask/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/height": tf.io.FixedLenFeature([], tf.int64),
    "image/width": tf.io.FixedLenFeature([], tf.int64),
    "image/filename": tf.io.FixedLenFeature([], tf.string),
    "patient/id": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([], tf.string),
    "lesion/area_fraction": tf.io.FixedLenFeature([], tf.float32),
    "lesion/count": tf.io.FixedLenFeature([], tf.int64),
    "mask/classes": tf.io.FixedLenFeature([], tf.int64),
    "image/brightness": tf.io.FixedLenFeature([], tf.float32),
    # Examples of older versions lack it.
    "image/contrast": tf.io.FixedLenFeature([], tf.float32, default_value=0.0),
    "image/digest": tf.io.FixedLenFeature([], tf.string),
    "image/doppler": tf.io.FixedLenFeature([], tf.int64),
    "image/marks": tf.io.FixedLenFeature([], tf.int64),
    "image/combined": tf.io.FixedLenFeature([], tf.int64),
}
OPTIONAL = {name: tf.io.FixedLenFeature([], tf.string, default_value="") for name in ("source", "device")}
"""Features that an Example has where its data set knows them."""


def to_example(sample):
    """Serialises a `Sample`.

    `image/encoded` is an 8-bit RGB PNG of what the decoder made of the file: the file itself where it is one
    (height and width are its own, not INFO.csv's); `mask/encoded` a single-channel PNG of class indices at
    the image's size.

    Args:
        sample: `Sample`.

    Returns:
        Bytes of a tf.train.Example.
    """
    record, (height, width) = sample.record, sample.mask.shape
    values = {
        "image/encoded": _image_bytes(sample),
        "mask/encoded": encode_png(sample.mask),
        "image/height": height,
        "image/width": width,
        "image/filename": record.filename,
        "patient/id": record.patient,
        "label": record.label,
        "lesion/area_fraction": sample.area_fraction,
        "lesion/count": sample.lesion_count,
        "mask/classes": sample.mask_classes,
        "image/brightness": sample.brightness,
        "image/contrast": sample.contrast,
        "image/digest": sample.digest,
        "image/doppler": int(record.doppler),
        "image/marks": int(record.marks),
        "image/combined": int(record.combined),
    }
    values |= {name: getattr(record, name) for name in OPTIONAL if getattr(record, name)}
    return tf.train.Example(
        features=tf.train.Features(feature={name: _feature(value) for name, value in values.items()})
    ).SerializeToString(deterministic=True)


def _image_bytes(sample):
    source = sample.record.image
    content = source if isinstance(source, bytes) else pathlib.Path(source).read_bytes()
    # Compressing anew is most of ExampleGen's time, and gains nothing.
    return content if is_plain_png(content) else encode_png(sample.image)


def _feature(value):
    if isinstance(value, (bytes, str)):
        value = value.encode() if isinstance(value, str) else value
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    if isinstance(value, float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def write_examples(serialised, directory, number=0, of=1):
    """Writes one gzipped TFRecord shard in TFX's naming.

    Args:
        serialised: iterable of Example bytes.
        directory: the split's folder; made if absent.
        number, of: which shard of how many.

    Returns:
        The number of Examples.
    """
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"data_tfrecord-{number:05d}-of-{of:05d}.gz"
    # Runners try again, and two at once: each writes a file of its own, hidden, and the last to end moves it here.
    part = directory / f".{os.getpid()}-{path.name}"
    count = 0
    # The pictures are compressed already; level 1 only satisfies the format.
    options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)
    try:
        with tf.io.TFRecordWriter(os.fspath(part), options) as writer:
            for example in serialised:
                writer.write(example)
                count += 1
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return count


def example_files(directory):
    """Sorted TFRecord files of a split's folder."""
    return sorted(os.fspath(path) for path in pathlib.Path(directory).glob("data_tfrecord-*.gz"))


def read_examples(directory):
    """Reads a split back.

    Args:
        directory: the split's folder, with `data_tfrecord-*.gz` in it.

    Returns:
        List of `Record` whose pictures are bytes.

    Raises:
        DataError: no such file, or one that is cut off.
    """
    files = example_files(directory)
    if not files:
        raise DataError(
            directory, ["no data_tfrecord-*.gz; expected the Examples of a split. Run ExampleGen."]
        )
    records = []
    try:
        for serialised in tf.data.TFRecordDataset(files, compression_type="GZIP"):
            values = {
                k: v.numpy() for k, v in tf.io.parse_single_example(serialised, FEATURES | OPTIONAL).items()
            }
            records.append(
                Record(
                    filename=values["image/filename"].decode(),
                    patient=values["patient/id"].decode(),
                    label=values["label"].decode(),
                    image=values["image/encoded"],
                    masks=(values["mask/encoded"],),
                    mask_format="index",
                    doppler=bool(values["image/doppler"]),
                    marks=bool(values["image/marks"]),
                    combined=bool(values["image/combined"]),
                    **{name: values[name].decode() for name in OPTIONAL},
                )
            )
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        raise DataError(
            directory,
            [f"cannot be read after {len(records)} Examples: {error.message}. Run ExampleGen again."],
        ) from None
    return records
