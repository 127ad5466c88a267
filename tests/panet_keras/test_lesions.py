import numpy as np

from panet_keras.evaluation.lesions import Marks, find_lesions, froc


def test_marks_are_matched_with_lesions():
    truth, probability = np.zeros((60, 80), bool), np.zeros((60, 80))
    truth[5:15, 5:15] = truth[30:50, 40:70] = True
    probability[5:15, 8:18] = 0.9  # Dice 0.7 with the first
    probability[38:42, 53:57] = 0.7  # small, and holds the second's centre
    probability[0:4, 60:70] = 0.8  # finds none
    assert find_lesions(truth, probability) == Marks((0.9, 0.7), (0.8,))
    assert find_lesions(truth, probability, 0.75) == Marks((0.9, 0.0), (0.8,))
    assert find_lesions(np.zeros_like(truth), probability).found == ()


def test_froc_counts_false_marks_an_image():
    images = [Marks((0.9,), ()), Marks((0.6,), (0.8, 0.5)), Marks((), (0.7,)), Marks((0.0,), ())]
    # 4 images; 1 false mark is allowed at 1/4: those above 0.7; 2 at 1/2: above 0.5; all 3 from 1 on. Of 3 lesions one has no mark.
    assert froc(images) == {"lesions": 3, 0.25: 1 / 3, 0.5: 2 / 3, 1.0: 2 / 3, 2.0: 2 / 3}
    assert np.isnan(froc([Marks((), ())])[1.0])
