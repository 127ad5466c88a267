"""All rows of the protocol for one model."""

from panet_keras.errors import PANetError
from panet_keras.evaluation.protocol import episode_list, run_protocol
from panet_keras.evaluation.summary import summarise, summarise_normal


def evaluate(predict, test, shots=(1, 5), repeats=5, seed=0, same_patient=True, moved_support=True, surface=True, progress=None):
    """Scores a model in every way the protocol asks for.

    Args:
        predict: function of (support_images, support_masks, query_images) to probabilities [1, 1, h, w, 2].
        test: `TestImages` of patients the model has not seen.
        shots: numbers of shots, each a cross-patient row; the first is the headline.
        repeats: random supports for each query.
        seed: of the episode list and the bootstrap.
        same_patient, moved_support: whether these rows are scored, at one shot.
        surface: whether HD95 and NSD are computed.
        progress: function of (row, done, total), called now and then.

    Returns:
        Three dictionaries by row name (`"cross-patient, 1 shot"` ...): the scores of each episode, the table's entries and the
        calibration counts; and a list of what could not be scored, with the reason.

    Raises:
        PANetError: too few supports for the headline.
    """
    rows, table, calibration, skipped = {}, {}, {}, []
    plan = [("cross-patient", count) for count in shots]
    plan += [(name, 1) for name, wanted in (("same-patient", same_patient), ("moved-support", moved_support)) if wanted]
    for protocol, count in plan:
        key = f"{protocol}, {count} shot" + ("s" if count > 1 else "")
        try:
            episodes = episode_list(test.patients, test.lesion, count, repeats, seed, protocol)
        except PANetError as error:
            if not rows:
                raise
            skipped.append(f"{key}: {error}")
            continue
        moved = protocol == "moved-support"

        def note(done, total, name=key):
            if progress:
                progress(name, done, total)

        rows[key], counts = run_protocol(predict, test, episodes, moved, seed, surface and not moved, note)
        table[key] = summarise(rows[key], test.patients, counts, seed)
        calibration[key] = counts.tolist()
        if protocol == "cross-patient":
            normal = episode_list(test.patients, test.lesion, count, 1, seed, queries="normal")
            normal_rows, _ = run_protocol(predict, test, normal, seed=seed, surface=False, progress=note)
            table[key]["normal"] = summarise_normal(normal_rows, rows[key])
            rows[f"{key}, normal"] = normal_rows
    return rows, table, calibration, skipped
