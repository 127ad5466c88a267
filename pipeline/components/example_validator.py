"""ExampleValidator: TFDV against the curated schema."""

import json

from pipeline.artifacts import ExampleAnomalies, Examples, ExampleStatistics, Schema
from pipeline.component import InputArtifact, OutputArtifact, Parameter, component


@component
def ExampleValidator(
    statistics: InputArtifact[ExampleStatistics],
    schema: InputArtifact[Schema],
    stop_on_anomalies: Parameter[bool],
    anomalies: OutputArtifact[ExampleAnomalies],
):
    """Validates each split and lists every reason, those of the whole set included.

    TFDV keeps findings about the set in `dataset_anomaly_info` and reports nothing at all for a set without Examples; both
    end up in `anomalies.json`, the second by a check of our own.
    """
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    from pipeline.statistics import read_statistics
    from pipeline.validation_library import import_tfdv

    tfdv = import_tfdv()

    curated = tfdv.load_schema_text(str(schema.schema))
    found = []
    for split in Examples.SPLITS:
        stats = read_statistics(statistics.split(split))
        count = stats.datasets[0].num_examples
        result = tfdv.validate_statistics(stats, curated)
        target = anomalies.split(split)
        target.parent.mkdir(parents=True)
        target.write_bytes(result.SerializeToString())
        infos = list(result.anomaly_info.items())
        if result.HasField("dataset_anomaly_info"):
            infos.append(("(data set)", result.dataset_anomaly_info))
        for feature, info in infos:
            for reason in info.reason:
                kind = anomalies_pb2.AnomalyInfo.Type.Name(reason.type)
                found.append({"split": split, "feature": feature, "type": kind, "description": reason.description})
        minimum = curated.dataset_constraints.min_examples_count
        if not count and not any(item["split"] == split for item in found):
            description = f"The split has 0 examples; expected at least {max(minimum, 1)}."
            found.append({"split": split, "feature": "(data set)", "type": "DATASET_LOW_NUM_EXAMPLES", "description": description})
    anomalies.anomalies.write_text(json.dumps(found, indent=1), "utf-8")
    anomalies.properties["anomalies"] = len(found)
    result = {"summary": f"{len(found)} anomalies"}
    if found and stop_on_anomalies:
        lines = "\n".join(f"  - {item['split']}, {item['feature']}: {item['type']}: {item['description']}" for item in found)
        result["stop"] = (
            f"{len(found)} anomalies against {schema.schema.name}:\n{lines}\n"
            "Mend the data, or the schema if it is too strict, or go on with --set validator.stop_on_anomalies=false."
        )
    return result
