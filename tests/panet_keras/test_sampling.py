import dataclasses

import numpy as np
import pytest

from panet_keras import PANetError
from panet_keras.data.episodic.rule import EpisodeRule, episode_ids


def rule(**changes):
    patients = np.array([f"p{i // 5}" for i in range(30)])
    classes = np.stack([np.arange(30) % 3 == 0, np.arange(30) % 3 == 1], -1)
    values = {
        "patients": patients,
        "classes": classes,
        "shots": 2,
        "queries": 2,
        "normal": ~classes.any(1),
    } | changes
    return EpisodeRule(**values)


@pytest.mark.parametrize("support_from", ["cross-patient", "same-patient"])
def test_episodes_share_no_image_and_keep_to_their_patients(support_from):
    classes = np.ones((30, 1), bool)
    own = rule(classes=classes, support_from=support_from, normal=~classes[:, 0])
    for step in range(500):
        supports, queries = episode_ids(own, seed=3, epoch=0, step=step, batch_size=1)
        ids = [*supports.ravel(), *queries.ravel()]
        assert len(set(ids)) == 4
        support_patients = set(own.patients[supports.ravel()])
        query_patients = set(own.patients[queries.ravel()])
        if support_from == "cross-patient":
            assert not support_patients & query_patients
        else:
            assert support_patients == query_patients and len(query_patients) == 1


def test_two_ways_draw_supports_of_their_own_class():
    own = rule()
    for step in range(200):
        supports, queries = episode_ids(own, 0, 0, step, 1)
        for way in (0, 1):
            assert own.classes[supports[0, way], way].all()
        assert own.classes[queries[0]].any(1).all()


def test_the_draw_is_a_function_of_seed_epoch_and_step():
    def ids(*key):
        return str(episode_ids(rule(), *key, 2))

    assert ids(1, 0, 5) == ids(1, 0, 5)
    assert len({ids(1, 0, 5), ids(2, 0, 5), ids(1, 1, 5), ids(1, 0, 6)}) == 4


def test_too_few_images_are_refused_before_training():
    classes = np.zeros((30, 1), bool)
    classes[[0, 7, 14]] = True
    with pytest.raises(
        PANetError, match="Malignant has 3 images.*5 shots . 1 query = 6. Lower `shots` or add images"
    ):
        rule(classes=classes, shots=5, queries=1).check(["Malignant"])
    own = rule(classes=classes, shots=2, queries=1)
    own.check(["Malignant"])
    for step in range(500):
        supports, queries = episode_ids(own, 0, 0, step, 1)
        assert len({*supports.ravel(), *queries.ravel()}) == 3
    with pytest.raises(PANetError, match="no image can be a query.*of the same patient"):
        rule(classes=classes, shots=2, queries=1, support_from="same-patient").check(["Malignant"])


def test_normal_queries_come_at_the_asked_rate():
    own = rule(normal_queries=0.3)
    drawn = np.concatenate([episode_ids(own, 0, 0, step, 1)[1][0] for step in range(1000)])
    # 2,000 draws of 0.3: standard deviation 0.010.
    assert abs(own.normal[drawn].mean() - 0.3) < 0.05


def test_balanced_draws_take_each_patient_as_often():
    patients = np.array(["many"] * 20 + ["few"] * 2 + ["one"])
    own = rule(
        patients=patients, classes=np.ones((23, 1), bool), normal=None, shots=1, queries=1, balanced=True
    )
    drawn = [patients[episode_ids(own, 0, 0, step, 1)[1][0]][0] for step in range(900)]
    # 300 of each are expected; the standard deviation is 14.
    assert all(abs(drawn.count(name) - 300) < 70 for name in set(patients))


def test_balanced_draws_use_a_patient_up():
    own = rule(
        patients=np.array(list("aabb")),
        classes=np.ones((4, 1), bool),
        normal=None,
        shots=1,
        queries=1,
        balanced=True,
    )
    supports, queries = dataclasses.replace(own, support_from="same-patient").draw(np.random.default_rng(0))
    assert {*supports.ravel(), *queries} in ({0, 1}, {2, 3})


@pytest.mark.parametrize("support_from", ["cross-patient", "same-patient"])
def test_a_query_s_copy_never_supports_it(support_from):
    """Every third picture came under several names; without copies the draws are those of a rule that knows
    none."""
    classes = np.ones((30, 1), bool)
    digests = np.array([f"d{i % 10 if i % 3 == 0 else i}" for i in range(30)])
    own = rule(classes=classes, support_from=support_from, normal=~classes[:, 0], digests=digests)
    for step in range(500):
        supports, queries = episode_ids(own, 3, 0, step, 1)
        assert not set(digests[supports.ravel()]) & set(digests[queries.ravel()])
    plain = rule(classes=classes, support_from=support_from)
    apart = rule(classes=classes, support_from=support_from, digests=np.arange(30))
    for step in range(50):
        for one, other in zip(episode_ids(plain, 3, 0, step, 1), episode_ids(apart, 3, 0, step, 1)):
            np.testing.assert_array_equal(one, other)
    lonely = rule(classes=classes, support_from=support_from, digests=np.zeros(30))
    with pytest.raises(PANetError, match="no image can be a query"):
        lonely.check(["Lesion"])


def test_a_normal_query_s_copy_is_no_normal_frame_of_the_support():
    """The pictures of the normal frames 20 and 21 are one, under the names of two patients."""
    patients = np.array([f"p{i // 2}" for i in range(24)])
    classes = (np.arange(24) < 20)[:, None]
    digests = np.where(np.arange(24) == 21, 20, np.arange(24))
    own = rule(
        patients=np.where(np.arange(24) == 21, "x", patients),
        classes=classes,
        normal=~classes[:, 0],
        shots=1,
        queries=1,
        normals=2,
        normal_queries=1.0,
        digests=digests,
    )
    for step in range(200):
        supports, queries = episode_ids(own, 0, 0, step, 1)
        assert queries[0, 0] >= 20 and not set(digests[supports[0, 0, 1:]]) & set(digests[queries[0]])
