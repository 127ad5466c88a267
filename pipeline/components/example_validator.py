"""ExampleValidator: TFDV against the curated schema and the run before, and checks of the images."""

import collections
import json

from pipeline.orchestration.annotations import InputArtifact, OutputArtifact, Parameter, component
from pipeline.orchestration.artifacts import ExampleAnomalies, Examples, ExampleStatistics, Schema


@component
def ExampleValidator(
    examples: InputArtifact[Examples],
    statistics: InputArtifact[ExampleStatistics],
    schema: InputArtifact[Schema],
    stop_on_anomalies: Parameter[bool],
    go_on: Parameter[tuple],
    anomalies: OutputArtifact[ExampleAnomalies],
    previous: InputArtifact[ExampleStatistics] = None,
):
    """Validates each split and lists every reason, those of the whole set included.

    Three sources, one list: TFDV (each split against the schema, the train split against the test split for
    skew, each split against the run before for drift), what ExampleGen met while decoding, and
    `pipeline.validation.image_checks`.

    Args:
        examples, statistics, schema: inputs.
        stop_on_anomalies: whether any anomaly ends the run.
        go_on: names of anomalies that are reported and do not.
        anomalies: output.
        previous: statistics of the last run on other data, if there is one.
    """
    from pipeline.validation.image_checks import anomaly, check_rows, read_rows

    findings = json.loads(examples.findings.read_text("utf-8"))
    rows = [row for split in Examples.SPLITS for row in read_rows(examples.split(split), split)]
    own = [
        anomaly(p["type"], p["split"], p["feature"], p["description"]) for p in findings["pictures"]
    ] + check_rows(rows)
    diffs, found = validate(statistics, schema, previous)
    found = [{**item, "stops": stop_on_anomalies and item["type"] not in go_on} for item in [*found, *own]]
    write(anomalies, diffs, found, own, rows)
    stopping = [item for item in found if item["stops"]]
    anomalies.properties |= {"anomalies": len(found), "stopping": len(stopping)}
    result = {"summary": summary(found)}
    if stopping:
        lines = "\n".join(
            f"  - {item['split']}, {item['feature']}: {item['type']}: {item['description']}"
            for item in stopping
        )
        names = ", ".join(dict.fromkeys([*go_on, *sorted({item["type"] for item in stopping})]))
        result["stop"] = (
            f"{counted(len(stopping))} against {schema.schema.name}:\n{lines}\n"
            f"Mend the data, or the schema if it is too strict, or go on with --set 'validator.go_on=[{names}]'."
        )
    return result


def validate(statistics, schema, previous):
    """Asks TFDV.

    TFDV keeps findings about the set in `dataset_anomaly_info` and reports nothing at all for a set without
    Examples; both end up in the list.

    Args:
        statistics, schema: artifacts. previous: statistics of an earlier run, or None.

    Returns:
        TFDV's `Anomalies` by split, and the list of anomalies.
    """
    from tensorflow_metadata.proto.v0 import schema_pb2

    from panet_keras.data.examples import OPTIONAL
    from pipeline.validation.image_checks import anomaly
    from pipeline.validation.statistics import read_statistics
    from pipeline.validation.tfdv import import_tfdv

    tfdv = import_tfdv()
    curated = tfdv.load_schema_text(str(schema.schema))
    # A schema of one's own may be older than these.
    for name in OPTIONAL.keys() - {feature.name for feature in curated.feature}:
        curated.feature.add(name=name, type=schema_pb2.BYTES)
    stats = {split: read_statistics(statistics.split(split)) for split in Examples.SPLITS}
    counts = {split: stats[split].datasets[0].num_examples for split in Examples.SPLITS}
    diffs, found = {}, []
    for split in Examples.SPLITS:
        others = {"serving_statistics": stats["test"]} if split == "train" and counts["test"] else {}
        if previous and counts[split]:
            others["previous_statistics"] = read_statistics(previous.split(split))
        diffs[split] = tfdv.validate_statistics(stats[split], curated, **others)
        infos = list(diffs[split].anomaly_info.items())
        if diffs[split].HasField("dataset_anomaly_info"):
            infos.append(("(data set)", diffs[split].dataset_anomaly_info))
        told = [
            anomaly(_name(reason), split, feature, reason.description)
            for feature, info in infos
            for reason in info.reason
        ]
        if not counts[split] and not told:
            minimum = max(curated.dataset_constraints.min_examples_count, 1)
            text = f"The split has 0 examples; expected at least {minimum}."
            told.append(anomaly("DATASET_LOW_NUM_EXAMPLES", split, "(data set)", text))
        found += told
    return diffs, found


def write(anomalies, diffs, found, own, rows):
    """Writes the artifact.

    Args:
        anomalies: output. diffs: TFDV's `Anomalies` by split, which get `own`, what TFDV does not look for,
            too.
        found: all anomalies. rows: of `pipeline.validation.image_checks.Row`.
    """
    from pipeline.validation.image_checks import flag_association

    for split, diff in diffs.items():
        for item in own:
            if split in item["split"].split(" and ") or (item["split"] == "all" and split == "train"):
                reason = diff.anomaly_info[item["feature"]].reason.add()
                reason.short_description, reason.description = item["type"], item["description"]
                diff.anomaly_info[item["feature"]].severity = 2  # ERROR
        target = anomalies.split(split)
        target.parent.mkdir(parents=True)
        target.write_bytes(diff.SerializeToString())
    anomalies.anomalies.write_text(json.dumps(found, indent=1, ensure_ascii=False), "utf-8")
    flags = {flag: flag_association(rows, flag) for flag in ("marks", "doppler", "combined")} if rows else {}
    (anomalies.path / "associations.json").write_text(json.dumps(flags, indent=1), "utf-8")


def summary(found):
    """One line that names what was found, such as `3 anomalies: DUPLICATE_IMAGE; let pass: MASK_SIZE (2)`."""

    def names(items):
        counts = collections.Counter(item["type"] for item in items)
        return ", ".join(f"{kind} ({count})" if count > 1 else kind for kind, count in sorted(counts.items()))

    if not found:
        return "no anomaly"
    stopping, passed = ([item for item in found if item["stops"] == stops] for stops in (True, False))
    if not stopping:
        return f"{counted(len(found))}, let pass: {names(passed)}"
    return f"{counted(len(found))}: {names(stopping)}" + (f"; let pass: {names(passed)}" if passed else "")


def counted(number):
    """`1 anomaly`, `2 anomalies`."""
    return f"{number} {'anomaly' if number == 1 else 'anomalies'}"


def _name(reason):
    """TFDV's type of a reason, with drift and skew told apart: it calls both COMPARATOR_..._HIGH."""
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    kind = anomalies_pb2.AnomalyInfo.Type.Name(reason.type)
    if kind.startswith("COMPARATOR"):
        return "DATA_SKEW" if "training and serving" in reason.description else "DATA_DRIFT"
    return kind
