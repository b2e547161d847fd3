import pytest

from vid_assets.curation.metrics import METRICS, RULES
from vid_assets.curation.policy import Policy, judge

GOOD = {
    "decoded_ratio": 1.0,
    "corrupt_frames": 0.0,
    "duration": 4.0,
    "fps": 24.0,
    "bits_per_pixel": 0.1,
    "aspect": 1.78,
    "short_side": 720.0,
    "residual_cut": 0.2,
    "near_duplicate_share": 0.0,
    "longest_freeze": 0.0,
    "timestamp_step": 1.0,
    "flicker": 0.2,
    "luma": 110.0,
    "black_share": 0.0,
    "clipped_share": 0.0,
    "sharpness": 300.0,
    "motion": 0.02,
    "motion_least": 0.01,
    "motion_most": 0.03,
    "motion_peak": 0.05,
    "motion_share": 1.0,
    "shake": 0.001,
    "shot_rate": 0.1,
    "kept_area": 1.0,
}


def test_there_is_exactly_one_rule_per_limit_in_the_configuration():
    assert sorted(rule.name for rule in RULES) == sorted(Policy.model_fields)
    assert all(rule.metric.name in METRICS and rule.op in (">=", "<=") and rule.limit.doc for rule in RULES)
    assert all(rule.name.endswith("_min" if rule.op == ">=" else "_max") for rule in RULES)


def test_a_good_clip_is_accepted_and_a_value_at_the_limit_too():
    assert judge("video", GOOD, Policy()) == []
    assert judge("video", GOOD | {"duration": 2.0, "longest_freeze": 0.5}, Policy()) == []


def test_all_broken_rules_are_named_with_value_and_limit():
    failures = judge("video", GOOD | {"duration": 0.5, "sharpness": 3.0, "motion": 0.5}, Policy())
    assert [(failure.rule, failure.value, failure.limit) for failure in failures] == [
        ("duration_min", 0.5, 2.0),
        ("sharpness_min", 3.0, 60.0),
        ("motion_max", 0.5, 0.15),
    ]


@pytest.mark.parametrize("value", [None, float("nan")])
def test_what_was_not_measured_is_a_failure_of_its_own(value):
    (failure,) = judge("video", GOOD | {"flicker": value}, Policy())
    assert (failure.rule, failure.value, failure.limit) == ("not_measured:flicker_max", None, 3.0)


def test_rules_that_do_not_apply_to_stills_or_are_off_are_skipped():
    still = GOOD | dict.fromkeys(
        ["duration", "fps", "motion", "motion_share", "shake", "flicker", "shot_rate", "longest_freeze"]
    )
    assert judge("image", still, Policy()) == []
    assert judge("video", GOOD | {"sharpness": 1.0}, Policy(sharpness_min=None)) == []


@pytest.mark.parametrize(("value", "good"), [(0.0040005, True), (0.004003, False), (0.0039, True)])
def test_no_rule_is_broken_by_the_width_of_a_rounding(value, good):
    """0.0040005 is shown as 0.004, which is the limit."""
    assert [one.rule for one in judge("video", GOOD | {"shake": value}, Policy())] == ([] if good else ["shake_max"])


def test_what_cannot_be_measured_as_a_clip_is_too_short_is_no_reason_of_its_own():
    short = GOOD | {"duration": 0.4, "motion": None, "flicker": None, "luma": 3.0}
    assert [one.rule for one in judge("video", short, Policy())] == ["duration_min", "luma_min"]
