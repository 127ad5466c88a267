"""ExampleValidator: TFDV against the curated schema and the run before, and checks of the images."""

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

    Three sources, one list: TFDV (each split against the schema, the train split against the test split for skew, each split against
    the run before for drift), what ExampleGen met while decoding, and `pipeline.validation.image_checks`. TFDV keeps findings about the set in
    `dataset_anomaly_info` and reports nothing at all for a set without Examples; both end up in the list.

    Args:
        examples, statistics, schema: inputs.
        stop_on_anomalies: whether any anomaly ends the run.
        go_on: names of anomalies that are reported and do not.
        anomalies: output.
        previous: statistics of the last run on other data, if there is one.
    """
    from pipeline.validation.image_checks import ANOMALIES, anomaly, check_rows, flag_association, read_rows
    from pipeline.validation.statistics import read_statistics
    from pipeline.validation.tfdv import import_tfdv

    tfdv = import_tfdv()
    unknown = sorted(set(go_on) - known_anomalies())
    if unknown:
        from pipeline.errors import ConfigError

        raise ConfigError(f"validator.go_on has {unknown}; expected names of {sorted(ANOMALIES)}, or of TFDV's AnomalyInfo.Type.")
    curated = tfdv.load_schema_text(str(schema.schema))
    stats = {split: read_statistics(statistics.split(split)) for split in Examples.SPLITS}
    before = {split: read_statistics(previous.split(split)) for split in Examples.SPLITS} if previous else {}
    findings = json.loads(examples.findings.read_text("utf-8"))
    rows = [row for split in Examples.SPLITS for row in read_rows(examples.split(split), split)]
    own = [anomaly(p["type"], p["split"], p["feature"], p["description"]) for p in findings["pictures"]] + check_rows(rows)
    found = []
    for split in Examples.SPLITS:
        count = stats[split].datasets[0].num_examples
        others = {"serving_statistics": stats["test"]} if split == "train" and stats["test"].datasets[0].num_examples else {}
        if split in before and count:
            others["previous_statistics"] = before[split]
        result = tfdv.validate_statistics(stats[split], curated, **others)
        infos = list(result.anomaly_info.items())
        if result.HasField("dataset_anomaly_info"):
            infos.append(("(data set)", result.dataset_anomaly_info))
        found += [anomaly(_name(reason), split, feature, reason.description) for feature, info in infos for reason in info.reason]
        minimum = curated.dataset_constraints.min_examples_count
        if not count and not any(item["split"] == split for item in found):
            description = f"The split has 0 examples; expected at least {max(minimum, 1)}."
            found.append(anomaly("DATASET_LOW_NUM_EXAMPLES", split, "(data set)", description))
        for item in own:
            if split in item["split"].split(" and ") or (item["split"] == "all" and split == "train"):
                reason = result.anomaly_info[item["feature"]].reason.add()
                reason.short_description, reason.description = item["type"], item["description"]
                result.anomaly_info[item["feature"]].severity = 2  # ERROR
        target = anomalies.split(split)
        target.parent.mkdir(parents=True)
        target.write_bytes(result.SerializeToString())
    found += own
    for item in found:
        item["stops"] = stop_on_anomalies and item["type"] not in go_on
    anomalies.anomalies.write_text(json.dumps(found, indent=1, ensure_ascii=False), "utf-8")
    flags = {flag: flag_association(rows, flag) for flag in ("marks", "doppler", "combined")} if rows else {}
    (anomalies.path / "associations.json").write_text(json.dumps(flags, indent=1, ensure_ascii=False), "utf-8")
    stopping = [item for item in found if item["stops"]]
    anomalies.properties |= {"anomalies": len(found), "stopping": len(stopping)}
    result = {"summary": f"{len(found)} anomalies" + (f", {len(found) - len(stopping)} of them let pass" if found else "")}
    if stopping:
        lines = "\n".join(f"  - {item['split']}, {item['feature']}: {item['type']}: {item['description']}" for item in stopping)
        names = ", ".join(sorted({item["type"] for item in stopping}))
        result["stop"] = (
            f"{len(stopping)} anomalies against {schema.schema.name}:\n{lines}\n"
            f"Mend the data, or the schema if it is too strict, or go on with --set 'validator.go_on=[{names}]'."
        )
    return result


def _name(reason):
    """TFDV's type of a reason, with drift and skew told apart: it calls both COMPARATOR_..._HIGH."""
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    kind = anomalies_pb2.AnomalyInfo.Type.Name(reason.type)
    if kind.startswith("COMPARATOR"):
        return "DATA_SKEW" if "training and serving" in reason.description else "DATA_DRIFT"
    return kind


def known_anomalies():
    """Names that an anomaly can have."""
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    from pipeline.validation.image_checks import ANOMALIES

    return {*ANOMALIES, "DATA_SKEW", "DATA_DRIFT", *anomalies_pb2.AnomalyInfo.Type.keys()}
