"""All rows of the protocol for one model."""

import hashlib
import json
import pathlib

import numpy as np

from panet_keras.data.records import digests
from panet_keras.errors import PANetError
from panet_keras.evaluation.lesions import lesion_figures
from panet_keras.evaluation.protocol import PROTOCOLS, Row, episode_list, fixed_episodes, run_protocol
from panet_keras.evaluation.summary import summarise, summarise_normal
from panet_keras.files import write_whole


def evaluate(
    predict,
    test,
    shots=(1, 5),
    repeats=5,
    seed=0,
    protocols=PROTOCOLS[1:],
    surface=True,
    progress=None,
    work_dir=None,
    queries=None,
    supports=(),
):
    """Scores a model in every way the protocol asks for.

    Args:
        predict: function of (support_images, support_masks, query_images) to probabilities [1, 1, h, w, N+1].
        test: `TestImages` of patients the model has not seen.
        shots: numbers of shots, each a cross-patient row; the first is the headline.
        repeats: random supports for each query.
        seed: of the episode list and the bootstrap.
        protocols: further rows, of `PROTOCOLS`, at one shot.
        surface: whether HD95 and NSD are computed, for the cross-patient and same-patient rows.
        progress: function of (row, done, total), called now and then.
        work_dir: folder in which each finished row is kept; an evaluation that was cut off goes on after the
            last one. What was kept of other episodes or pictures is scored anew; it is the caller's to use a
            folder for one model.
        queries: indices of the test images that are asked for (`some_queries`); supports are drawn from all.
            None: all.
        supports: indices of the annotated images that every query gets (`fixed_episodes`), instead of drawn
            ones: there is one row then, of as many shots, and shots, repeats and protocols are not looked at.

    Returns:
        Three dictionaries by row name (the text of a `Row`, `"cross-patient, 1 shot"` ...): the scores and
            supports of each episode, the
        table's entries and the calibration counts; and a list of what could not be scored, with the reason. A
        table's entry is that
        of `summarise` with protocol, shots, and annotated: the number of different annotated images that were
            supports; cross-patient
        ones have normal (`summarise_normal`) and marks (`lesion_figures`), too.

    Raises:
        PANetError: too few supports for the headline, or an unknown protocol.
    """
    unknown = set(protocols) - set(PROTOCOLS)
    if unknown:
        raise PANetError(f"protocols: {sorted(unknown)} unknown; expected some of {list(PROTOCOLS)}.")
    rows, table, calibration, skipped = {}, {}, {}, []
    asked = None if queries is None else set(queries)

    def score(name, row, repeats, kind="lesion"):
        if len(supports):
            drawn = fixed_episodes(test.patients, test.lesion, supports, kind, test.digests)
        else:
            drawn = episode_list(
                test.patients,
                test.lesion,
                row.shots,
                repeats,
                seed,
                row.protocol,
                kind,
                test.labels,
                test.digests,
                test.sources,
            )
        if asked is not None:
            drawn = [episode for episode in drawn if episode.query in asked]
            if not drawn and kind == "lesion":
                raise PANetError(
                    f"{row}: none of the {len(asked)} queries that were chosen can be scored; choose more."
                )
        outlines = surface and kind == "lesion" and row.protocol in PROTOCOLS[:2]

        def note(done, total):
            if progress:
                progress(name, done, total)

        def run():
            return run_protocol(predict, test, drawn, row.protocol, seed, outlines, note)

        return (
            run() if work_dir is None else _kept(work_dir, name, _question(test, drawn, seed, outlines), run)
        )

    plan = [Row("cross-patient", count) for count in shots] + [
        Row(name, 1) for name in protocols if name != "cross-patient"
    ]
    if len(supports):
        plan = [Row("cross-patient", len(supports))]
    for row in plan:
        key = str(row)
        try:
            found, counts = score(key, row, 1 if row.protocol == "superpixel" else repeats)
            if not found:
                raise PANetError("no frame has a superpixel that is bright enough to stand for a lesion.")
            rows[key] = found
        except PANetError as error:
            if not rows:
                raise
            skipped.append(f"{key}: {error}")
            continue
        # A superpixel's support is the query's own frame, which nobody annotated.
        annotated = (
            0
            if row.protocol == "superpixel"
            else len({index for one in rows[key] for index in one["supports"]})
        )
        facts = {"protocol": row.protocol, "shots": row.shots, "annotated": annotated}
        table[key] = facts | summarise(rows[key], test.patients, counts, seed)
        calibration[key] = counts.tolist()
        if row.protocol == "cross-patient":
            normal, _ = score(f"{key}, normal", row, 1, "normal")
            table[key] |= {
                "normal": summarise_normal(normal, rows[key]),
                "marks": lesion_figures(rows[key], normal),
            }
            rows[f"{key}, normal"] = normal
    return rows, table, calibration, skipped


def _question(test, episodes, *settings):
    """Digest of all that a row's scores depend on, beside the model."""
    parts = [*test.digests, *digests(test.truths), *map(repr, episodes), repr(settings)]
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


def _kept(work_dir, name, question, run):
    """Rows and counts of a run, from its file where the same has been asked before."""
    file = pathlib.Path(work_dir) / f"{name.replace(', ', '-').replace(' ', '_')}.json"
    if file.is_file():
        kept = json.loads(file.read_text("utf-8"))
        if kept.get("question") == question:
            return kept["rows"], np.array(kept["counts"])
    rows, counts = run()
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps({"question": question, "rows": rows, "counts": counts.tolist()}))
    return rows, counts
