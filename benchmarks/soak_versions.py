"""What `benchmarks.soak` serves: versions with different weights, whose answers are known, and versions that must
never be served."""

import itertools
import os
import pathlib
import shutil
import threading
import time

import numpy as np

PERIOD = 10.0
"""Seconds between a version that is right and one that is not."""
VARIANTS = 3
BROKEN = ("cut off", "altered after it was signed", "unsigned", "signed with another key")
WARM_UP = "assets.extra/tf_serving_warmup_requests"


def make_variant(source, folder, number):
    """Copies a SavedModel, its weights and the version that it names in support states changed.

    Args:
        source: `pathlib.Path` of an exported model. folder: new one. number: decides the change; 0 changes
            the name alone.
    """
    import json

    import tensorflow as tf

    shutil.copytree(source, folder)
    prefix = os.fspath(folder / "variables" / "variables")
    reader = tf.train.load_checkpoint(prefix)
    names = sorted(reader.get_variable_to_shape_map())
    values = [reader.get_tensor(name) for name in names]
    rng = np.random.default_rng(number)
    for place, value in enumerate(values):
        factor = np.float32(1 + 0.04 * number * rng.standard_normal())
        if getattr(value, "dtype", None) == np.float32:
            values[place] = value * factor
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[*map(tf.constant, values)],
    )
    facts = folder / "assets.extra" / "panet.json"
    old = json.loads(facts.read_text("utf-8"))["model_version"].encode()
    new = f"{number:016x}".encode()
    for file in (facts, folder / "saved_model.pb"):
        file.write_bytes(file.read_bytes().replace(old, new))
    requests = [record.numpy().replace(old, new) for record in tf.data.TFRecordDataset(str(folder / WARM_UP))]
    with tf.io.TFRecordWriter(str(folder / WARM_UP)) as writer:
        for request in requests:
            writer.write(request)
    return folder


class Versions:
    """New versions, broken ones and a foreign folder come and go, and so do configurations.

    Args:
        base: `pathlib.Path` of the served folder; version 1 is put there. variants: folders of `make_variant`.
        keys: private keys, the right one and another one. reload: function that asks the server for a right
            (True) or a wrong configuration.

    Attributes:
        variant: dictionary of a version's number to that of its variant. broken: dictionary of a number to
            what is wrong with it.
    """

    def __init__(self, base, variants, keys, reload):
        self.base, self.variants, self.keys, self.reload = base, variants, keys, reload
        self.variant, self.broken = {}, {}
        self._kinds = itertools.cycle(BROKEN)
        self.add(1)

    def add(self, number):
        """Puts a version into the served folder, signed."""
        self.variant[number] = number % len(self.variants)
        self._place(number, lambda folder: self._sign(folder))

    def add_broken(self, number):
        """Puts a version there that must not be served."""
        kind = self.broken[number] = next(self._kinds)

        def spoil(folder):
            graph = folder / "saved_model.pb"
            if kind == "cut off":
                graph.write_bytes(graph.read_bytes()[:1000])
            if kind != "unsigned":
                self._sign(folder, self.keys[kind == "signed with another key"])
            if kind == "altered after it was signed":
                [weights] = folder.glob("variables/variables.data*")
                content = bytearray(weights.read_bytes())
                content[len(content) // 2] ^= 1
                weights.write_bytes(content)

        self._place(number, spoil)

    def _place(self, number, finish):
        building = self.base / f".{number}"
        shutil.copytree(self.variants[number % len(self.variants)], building)
        finish(building)
        os.replace(building, self.base / str(number))

    def _sign(self, folder, key=None):
        from pipeline.papers.signing import sign

        sign(folder, key or self.keys[0])

    def run(self, end):
        """Until `time.monotonic()` is `end`."""
        number = 2
        while time.monotonic() < end:
            time.sleep(PERIOD)
            self.add(number)
            self.add_broken(number + 1)
            (self.base / "foreign").mkdir(exist_ok=True)
            self.reload(number % 4 != 0)
            time.sleep(PERIOD)
            shutil.rmtree(self.base / str(number + 1))
            if number > 3:
                shutil.rmtree(self.base / str(number - 2))
            number += 2

    def start(self, end):
        """Runs in a thread, which it returns."""
        thread = threading.Thread(target=self.run, args=(end,), name="versions", daemon=True)
        thread.start()
        return thread


def make_keys(folder):
    """Two private keys in a folder, and the public one of the first."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    made = []
    for name in ("ours", "theirs"):
        key = ec.generate_private_key(ec.SECP256R1())
        made.append(pathlib.Path(folder) / f"{name}.pem")
        made[-1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        made[-1].with_suffix(".pub").write_bytes(
            key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
    return made, made[0].with_suffix(".pub")
