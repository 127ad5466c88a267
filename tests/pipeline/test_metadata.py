import pytest

from pipeline.errors import MetadataError
from pipeline.lineage.metadata import Metadata
from pipeline.orchestration.annotations import InputArtifact, OutputArtifact, Parameter, component
from pipeline.orchestration.artifacts import Examples, Model


def test_folder_is_made_and_a_foreign_file_is_left_alone(tmp_path):
    Metadata(tmp_path / "new" / "dir" / "m.db")
    assert (tmp_path / "new" / "dir" / "m.db").is_file()
    foreign = tmp_path / "notes.db"
    foreign.write_bytes(b"x" * 200)
    with pytest.raises(MetadataError, match="notes.db: not an SQLite database.*Name another"):
        Metadata(foreign)
    assert foreign.read_bytes() == b"x" * 200


def test_the_newest_complete_execution_is_the_cache_hit(tmp_path):
    metadata = Metadata(tmp_path / "m.db")
    run = metadata.start_run("r1")
    for number, state in enumerate(("COMPLETE", "COMPLETE", "FAILED"), 1):
        output = {"examples": Examples(tmp_path / str(number), digest=str(number))} if state == "COMPLETE" else {}
        metadata.put_execution("Gen", run, {}, output, state, cache_key="k")
    _, outputs = metadata.find_cached("Gen", "k")
    assert outputs["examples"].digest == "2"
    assert metadata.find_cached("Gen", "other") is None
    model = Model(tmp_path / "m", digest="m")
    metadata.put_execution("Train", run, {"examples": outputs["examples"]}, {"model": model}, "COMPLETE")
    assert [a.type_name() for a, _, _ in metadata.ancestors(model.id)] == ["Model", "Examples"]
    assert len(metadata.executions(run)) == 4


def test_component_reads_its_annotations():
    @component
    def Copy(examples: InputArtifact[Examples], times: Parameter[int], model: OutputArtifact[Model]):
        pass

    assert (
        dict(Copy.inputs) == {"examples": Examples}
        and dict(Copy.outputs) == {"model": Model}
        and dict(Copy.parameters) == {"times": int}
    )
    with pytest.raises(TypeError, match=r"Copy got \['times'\]; expected \['examples', 'times'\]"):
        Copy(times=1)
    with pytest.raises(TypeError, match="expected one of"):

        @component
        def Wrong(x: int):
            pass
