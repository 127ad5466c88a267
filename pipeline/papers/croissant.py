"""Croissant description of a data set artifact, for catalogues and search engines.

JSON-LD of version 1.0 (https://docs.mlcommons.org/croissant/docs/croissant-spec.html). It holds counts,
features and hashes; no patient, no picture and no file name of one.
"""

import hashlib
import json

NAME = "croissant.json"
SPEC = "http://mlcommons.org/croissant/1.0"
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
} | {
    # The specification wants all its terms here, used or not.
    term: f"cr:{term}"
    for term in (
        "citeAs column equivalentProperty extract field fileObject fileProperty fileSet format includes isLiveDataset jsonPath key md5 "
        "parentField path recordSet references regex repeated replace samplingRate separator source subField transform"
    ).split()
}
FIELDS = {
    "image/encoded": ("sc:ImageObject", "The frame, an 8-bit RGB PNG."),
    "mask/encoded": (
        "sc:ImageObject",
        "Class of each pixel, a PNG of one channel: 0 background, 1.. lesions, 255 ignore.",
    ),
    "image/height": ("sc:Integer", "Pixels."),
    "image/width": ("sc:Integer", "Pixels."),
    "image/filename": ("sc:Text", "Name of the file that it was read from."),
    "image/digest": ("sc:Text", "Hash of the decoded pixels."),
    "image/brightness": ("sc:Float", "Mean of the frame, 0 to 1."),
    "image/contrast": ("sc:Float", "Standard deviation of the frame, 0 to 0.5."),
    "image/doppler": ("sc:Integer", "1 where colour Doppler is overlaid."),
    "image/marks": ("sc:Integer", "1 where marks are burnt in."),
    "image/combined": ("sc:Integer", "1 where two views are in one frame."),
    "patient/id": ("sc:Text", "Identifier of the patient in the data set's own terms."),
    "label": ("sc:Text", "Normal, Benign or Malignant."),
    "lesion/area_fraction": ("sc:Float", "Share of the frame that is lesion."),
    "lesion/count": ("sc:Integer", "Regions of the mask."),
    "mask/classes": ("sc:Integer", "Classes in the mask."),
}
"""Type and meaning of what each tf.train.Example holds (`panet_keras.data.examples.FEATURES`)."""


def croissant(examples, name="panet-bus-examples", license=None, url=None):
    """The description as JSON text; the same for the same files.

    Args:
        examples: `Examples`, its findings written. name, license (URL or SPDX identifier), url: of the data
            set, where they are known.
    """
    findings = json.loads(examples.findings.read_text("utf-8"))
    counts = {split: findings["counts"].get(split, 0) for split in examples.SPLITS}
    patients = {split: len(findings["patients"].get(split, ())) for split in examples.SPLITS}
    said = "; ".join(f"{split}: {counts[split]} frames of {patients[split]} patients" for split in counts)
    files, records = [], []
    for split in examples.SPLITS:
        shards = sorted(file for file in examples.split(split).iterdir() if not file.name.startswith("."))
        if not shards:
            continue
        files += [_file(examples, shard) for shard in shards]
        files.append(_all(split, shards, files[-len(shards) :]))
        records.append(_records(split, counts[split]))
    known = {"license": license, "url": url}
    return json.dumps(
        {
            "@context": CONTEXT,
            "@type": "sc:Dataset",
            "conformsTo": SPEC,
            "name": name,
            "description": f"Annotated breast ultrasound for few-shot segmentation, split by patient. {said}.",
            **{key: value for key, value in known.items() if value},
            "distribution": files,
            "recordSet": records,
        },
        indent=1,
        ensure_ascii=False,
    )


def _file(examples, shard):
    place = shard.relative_to(examples.path).as_posix()
    with open(shard, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "@type": "cr:FileObject",
        "@id": place,
        "name": shard.name,
        "contentUrl": place,
        "contentSize": f"{shard.stat().st_size} B",
        "encodingFormat": "application/gzip",
        "sha256": digest,
    }


def _all(split, shards, files):
    return {
        "@type": "cr:FileSet",
        "@id": f"{split}-shards",
        "name": f"{split}-shards",
        "description": "TFRecord files, gzip, of tf.train.Example messages.",
        "containedIn": [{"@id": file["@id"]} for file in files],
        "encodingFormat": "application/x-tfrecord",
        "includes": "*",
    }


def _records(split, count):
    return {
        "@type": "cr:RecordSet",
        "@id": split,
        "name": split,
        "description": f"{count} annotated frames, a tf.train.Example each.",
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{split}/{feature}",
                "name": feature,
                "description": text,
                "dataType": kind,
                "source": {"fileSet": {"@id": f"{split}-shards"}, "extract": {"column": feature}},
            }
            for feature, (kind, text) in FIELDS.items()
        ],
    }
