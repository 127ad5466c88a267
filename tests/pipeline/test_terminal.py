"""What a run says, and what its stages say of themselves."""

import logging

import pytest

from pipeline.components.evaluator import judge
from pipeline.components.example_validator import summary
from pipeline.terminal import Progress, show_log


def test_lines_are_bare_and_shown_once(capsys):
    show_log()
    show_log()
    logging.getLogger("pipeline.somewhere").info("report: %s", "here")
    logging.getLogger("pipeline.somewhere").error("broken")
    assert capsys.readouterr() == ("report: here\n", "broken\n")


def test_progress_tells_the_time_left(capsys):
    show_log()
    progress = Progress(logging.getLogger("pipeline.test"), "episodes", pause=0.0)
    progress(1, 4, "row")
    progress.start -= 30  # as if the first had been half a minute ago
    progress(2, 4, "row", "loss 0.5")
    progress(4, 4, "row")
    progress(3, 3, "next")
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "      row: 1/4 episodes",
        "      row: 2/4 episodes, 01:00 left, loss 0.5",
        "      row: 4/4 episodes",
        "      next: 3/3 episodes",
    ]


def test_anomalies_are_named():
    assert summary([]) == "no anomaly"
    assert summary([{"type": "MASK_SIZE", "stops": False}]) == "1 anomaly, let pass: MASK_SIZE"
    found = [
        {"type": kind, "stops": stops}
        for kind, stops in (("MASK_SIZE", False), ("MASK_SIZE", False), ("DUPLICATE_IMAGE", True))
    ]
    assert summary(found) == "3 anomalies: DUPLICATE_IMAGE; let pass: MASK_SIZE (2)"


def scores(dice, headline="cross-patient, 1 shot", images=("a.png", "b.png"), supports=(), contents=None):
    per_image = {name: {"dice": dice, "patient": name} for name in images}
    for name, content in (contents or {}).items():
        per_image[name]["content"] = content
    table = {headline: {"dice": {"mean": dice}}}
    return {"headline": headline, "table": table, "per_image": per_image, "settings": {"supports": supports}}


SETTINGS = {"min_dice": 0.5, "max_drop": 0.02, "supports": (), "quick": False}


@pytest.mark.parametrize(
    ("dice", "before", "quick", "blessed", "reasons", "notes"),
    [
        (0.6, None, False, True, ["mean Dice 0.600 is at least"], ["no blessed model before this one"]),
        # A first run that is refused is refused for its score alone.
        (
            0.4,
            None,
            False,
            False,
            ["mean Dice 0.400 is below evaluator.min_dice 0.5"],
            ["no blessed model before this one"],
        ),
        (float("nan"), None, False, False, ["mean Dice nan is below"], ["no blessed model before this one"]),
        (0.6, scores(0.7), False, False, ["-0.100 Dice .* a drop of more than evaluator.max_drop"], []),
        (0.6, scores(0.6), False, True, ["mean Dice 0.600", r"\+0.000 Dice .* on 2 images"], []),
        (
            0.6,
            scores(0.9, "cross-patient, 5 shots"),
            False,
            True,
            ["mean Dice"],
            ["was scored at cross-patient, 5 shots; not compared"],
        ),
        (
            0.6,
            scores(0.9, images=("c.png",)),
            False,
            True,
            ["mean Dice"],
            ["scored on other images; not compared"],
        ),
        (
            0.6,
            scores(0.9, supports=["c.png"]),
            False,
            True,
            ["mean Dice"],
            ["with other supports; not compared"],
        ),
        (0.6, None, True, False, ["evaluator.quick is a look"], ["no blessed model before this one"]),
        # Another data set's pictures of the same names, or masks that were corrected, are no yardstick.
        (
            0.6,
            scores(0.9, contents={"a.png": "other", "b.png": "other"}),
            False,
            True,
            ["mean Dice"],
            ["scored on other images; not compared"],
        ),
        (
            0.6,
            scores(0.6, contents={"a.png": "A", "b.png": "other"}),
            False,
            True,
            ["mean Dice", r"\+0.000 Dice .* on 1 images"],
            ["1 images have the name .* another picture or mask; not compared"],
        ),
        (0.6, scores(float("nan")), False, False, ["nan Dice .* a drop of more than"], []),
    ],
)
def test_a_blessing_has_reasons_and_notes_apart(dice, before, quick, blessed, reasons, notes):
    import re

    now = scores(dice, contents={"a.png": "A", "b.png": "B"})
    verdict = judge(now, SETTINGS | {"quick": quick}, before)
    assert verdict.blessed is blessed
    for found, expected in ((verdict.reasons, reasons), (verdict.notes, notes)):
        assert len(found) == len(expected) and all(
            re.search(text, one) for text, one in zip(expected, found)
        ), found
