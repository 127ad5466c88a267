"""SchemaGen: the curated schema, and the inferred one beside it."""

import shutil

from pipeline.orchestration.annotations import InputArtifact, InputPath, OutputArtifact, component
from pipeline.orchestration.artifacts import ExampleStatistics, Schema


@component
def SchemaGen(
    statistics: InputArtifact[ExampleStatistics], schema_file: InputPath, schema: OutputArtifact[Schema]
):
    """Imports the curated schema.

    A schema inferred from the data that it then checks finds nothing; the inferred one is kept to compare
    with, for whoever curates. The curated file is parsed first, so that a broken one is refused here, by
    name.

    Args:
        statistics: of the splits; the inferred schema is that of `train`.
        schema_file: the curated schema, a `Schema` message in text form.
        schema: takes a copy of it, and the inferred one.

    Raises:
        PipelineError: `schema_file` is no schema.
    """
    from pipeline.errors import PipelineError
    from pipeline.validation.statistics import read_statistics
    from pipeline.validation.tfdv import import_tfdv

    tfdv = import_tfdv()

    try:
        curated = tfdv.load_schema_text(str(schema_file))
    except Exception as error:
        raise PipelineError(f"{schema_file}: not a schema in text form: {error}") from None
    shutil.copyfile(schema_file, schema.schema)
    inferred = tfdv.infer_schema(read_statistics(statistics.split("train")))
    tfdv.write_schema_text(inferred, str(schema.inferred))
    return {"summary": f"{len(curated.feature)} features curated, {len(inferred.feature)} inferred"}
