"""What the support says of itself on the command line: `check`, and the threshold that `segment` and `infer`
set."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from panet_keras.__main__ import main
from panet_keras.commands.arguments import Support, read_support_folder
from panet_keras.commands.check import describe
from panet_keras.commands.model import open_model
from panet_keras.inference.segmenter import Expected, FewShotSegmenter, open_segmenter


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("keras") / "model.keras"
    model.save(path)
    return str(path)


@pytest.fixture
def support(scanner):
    pairs, normals = read_support_folder(scanner)
    return Support(tuple(image for image, _ in pairs), tuple(masks for _, masks in pairs), tuple(normals))


def test_the_words_say_the_numbers():
    support = Support(("a.png", "b.png", "c.png"), ((), (), ()), ("n.png",) * 4)
    found = Expected(0.7, 1 / 3, 0.25, 0.6, 3, 4, [(1, 0.5), (2, 0.52)], True, [0.9, 0.0, 0.8])
    said = "\n".join(describe(found, support, 0.7))
    for words in (
        "3 annotated pictures with a lesion, 4 normal frames",
        "with all the others as examples",
        "0.70 in the mean",
        "1 of 3 (33%) lesions",
        "1 of 4 (25%) normal frames got a mask",
        "0.60, set by these pictures (the model's own: 0.70)",
        "0.50 with 1, 0.52 with 2 annotated pictures",
        "would probably help: from 1 to 2 Dice changed by +0.020",
        "b.png (Dice 0.00)",
        "One lesion is 33% of these figures",
    ):
        assert words in said
    bare = dataclasses.replace(found, marked=None, normals=0, curve=[(1, 0.5)], more_helps=None)
    said = "\n".join(describe(bare, support, 0.7))
    assert (
        "there is no normal frame. Put some into normals/" in said
        and "0.50 with 1 annotated picture," in said
    )
    assert "not known: at least 3 annotated pictures" in said
    before = dataclasses.replace(found, curve=[(1, 0.5), (2, 0.505)], more_helps=False)
    tuned = dataclasses.replace(found, curve=[], more_helps=None)
    said = "\n".join(describe(tuned, support, 0.7, before))
    assert "by a model fine-tuned on other pictures" in said and "before fine-tuning" in said
    assert "would hardly help without fine-tuning" in said


def test_check_prints_draws_and_saves(saved, scanner, support, tmp_path, capsys):
    # The picture lies in the model's own new folder.
    folder = tmp_path / "calibrated"
    picture = folder / "curve.png"
    command = ["check", "--model", saved, "--size", "64", "64", "--support-dir", str(scanner)]
    assert main([*command, "--out", str(picture), "--save", str(folder)]) is None
    said = capsys.readouterr().out
    segmenter = open_segmenter(saved, (64, 64))
    masks = [masks[0] for masks in support.masks]
    found = (
        segmenter.set_support(list(support.images), masks, normals=list(support.normals))
        .calibrate()
        .expected()
    )
    assert (found.lesions, found.normals, len(found.each)) == (4, 2, 4) and found.dice == pytest.approx(
        np.mean(found.each)
    )
    assert "\n".join(describe(found, support, 0.0)) in said
    assert Image.open(picture).size == (660, 440)

    again = open_segmenter(str(folder))
    assert again.calibrated and not segmenter.presence_threshold == 0.0
    assert again.presence_threshold == segmenter.presence_threshold and again.size == (64, 64)
    for more, message in (
        (["--save", str(folder)], "calibrated: there already"),
        (["--out", str(picture)], "curve.png: there already. Give --overwrite"),
        (["--out", str(tmp_path / "curve.jpg")], "ends in .png"),
        (["--save", str(picture / "model")], "curve.png is a file, and no folder"),
        (["--save", str(tmp_path / "c.png"), "--out", str(tmp_path / "c.png")], "the folder of --save, too"),
        (["--out", str(scanner / "l0.png"), "--overwrite"], "l0.png: given as an input"),
    ):
        assert main([*command, *more]) == 1 and message in capsys.readouterr().err
    one = f"{scanner}/l0.png={scanner}/l0_mask.png"
    assert main(["check", "--support", one]) == 1
    assert "l0.png is the only annotated picture; check needs at least 2" in capsys.readouterr().err


def test_check_adapts(saved, scanner, quick_tuning, tmp_path, capsys):
    folder = tmp_path / "adapted"
    command = [
        "check",
        "--model",
        saved,
        "--size",
        "64",
        "64",
        "--support-dir",
        str(scanner),
        "--adapt",
        "--save",
        str(folder),
    ]
    assert main(command) is None
    said = capsys.readouterr()
    assert (
        "adapt: " in said.err
        and "score" in said.err
        and "4 annotated pictures with a lesion, 2 normal frames" in said.out
    )
    assert open_segmenter(str(folder)).calibrated


def test_the_threshold_is_the_given_one_else_the_scanner_s_else_the_model_s(saved, support, tmp_path, capsys):
    few = Support(support.images[:2], support.masks[:2], support.normals)
    without = dataclasses.replace(few, normals=())
    single = Support(support.images[:1], support.masks[:1], support.normals)
    for asked in (without, single):
        own = open_model(saved, (64, 64), asked)
        assert own.presence_threshold == 0 and not own.calibrated and not capsys.readouterr().err
    calibrated = open_model(saved, (64, 64), few)
    masks = [masks[0] for masks in few.masks]
    expected = (
        FewShotSegmenter(calibrated.model, (64, 64))
        .set_support(few.images, masks, normals=few.normals)
        .calibrate()
    )
    assert calibrated.presence_threshold == expected.presence_threshold > 0
    line = f"presence threshold {expected.presence_threshold:.2f}, set by 2 annotated pictures and 2 normal frames (the model's own: 0.00)"
    assert line in capsys.readouterr().err
    given = open_model(saved, (64, 64), few, 0.25)
    assert given.presence_threshold == 0.25 and not capsys.readouterr().err
    # What was calibrated on one set is not calibrated on another, least of all on the frames that it was
    # tuned on.
    calibrated.presence_threshold = 0.375
    calibrated.save(tmp_path / "preset")
    assert open_model(str(tmp_path / "preset"), None, few).presence_threshold == 0.375
    # Too few to fine-tune: said, and calibrated all the same.
    assert open_model(saved, (64, 64), few, adapt=True).presence_threshold == expected.presence_threshold
    said = capsys.readouterr().err
    assert "adapt: too few annotated pictures with a lesion; at least 4" in said and line in said


def test_who_gives_many_pictures_is_told_of_adapt(saved, support, tmp_path, capsys):
    many = Support(support.images * 2, support.masks * 2)
    segmenter = open_model(saved, (64, 64), many)
    assert "8 annotated pictures: --adapt fine-tunes the model on them" in capsys.readouterr().err
    segmenter.calibrated = True  # as of a model that was adapted before
    segmenter.save(tmp_path / "preset")
    open_model(str(tmp_path / "preset"), None, many)
    assert "--adapt" not in capsys.readouterr().err


def test_adapt_says_what_it_decided_and_a_threshold_that_is_given_wins(saved, support, quick_tuning, capsys):
    segmenter = open_model(saved, (64, 64), support, 0.5, adapt=True)
    decided, said = segmenter.adaptation, capsys.readouterr().err
    assert set(decided.scores) == {0, 0.5, 1.0} and f"{decided.scores[0]:.3f}" in said
    assert (f"fine-tuned for {decided.steps} steps" if decided.steps else "the model stays as it is") in said
    assert segmenter.presence_threshold == 0.5 and "presence threshold" not in said


def test_the_export_keeps_a_preset_s_threshold(saved, tmp_path):
    segmenter = open_segmenter(saved, (64, 64))
    segmenter.presence_threshold = 0.625
    segmenter.save(tmp_path / "preset")
    assert main(["export", "--model", str(tmp_path / "preset"), "--out", str(tmp_path / "1")]) is None
    assert (
        json.loads((tmp_path / "1" / "assets.extra" / "panet.json").read_text())["presence_threshold"]
        == 0.625
    )
