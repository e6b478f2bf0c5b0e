"""Options of the defences: defaults, bad input, and one setting for every registered defence."""

import pytest

from seatbelt_tf.defences import base, settings, stack


def test_every_registered_defence_has_settings_and_the_other_way_round():
    assert stack.Defences({})  # imports them all
    assert set(base._DEFENCES) == set(settings.DEFAULTS)


def test_what_a_defence_does_is_no_name_of_an_option():
    hooks = {name for name in vars(base.Defence) if not name.startswith("_")}
    assert set(settings.HOOKS) == hooks
    with pytest.raises(ValueError, match="none of networks"):
        settings.add("own", {"scale": 1.0}, {"scale": lambda name, value: value})
    with pytest.raises(ValueError, match="own radius"):
        settings.add("own", {"radius": -1.0})
    assert "own" not in settings.DEFAULTS


def test_defaults_are_filled_in_and_names_sorted():
    found = settings.check("defences", {"smooth_encoder": {"steps": 3}, "adversarial": {}})
    assert list(found) == ["adversarial", "smooth_encoder"]
    assert found["smooth_encoder"] == {"radius": 4.0, "steps": 3, "weight": 1.0}
    assert found["adversarial"] == settings.DEFAULTS["adversarial"]
    assert settings.check("defences", None) == {}


@pytest.mark.parametrize(
    ("defences", "message"),
    [
        (["adversarial"], "a dict of names"),
        ({"adversary": {}}, "did you mean 'adversarial'"),
        ({"adversarial": 4.0}, "adversarial's options"),
        ({"adversarial": {"noise": 1.0}}, "adversarial's option"),
        ({"learned_scale": {"noise": 1.0}}, "none"),
        ({"adversarial": {"radius": 0.0}}, "adversarial radius"),
        ({"adversarial": {"radius": float("nan")}}, "adversarial radius"),
        ({"adversarial": {"steps": 1.5}}, "adversarial steps"),
        ({"adversarial": {"weight": 1.5}}, "from 0 to 1"),
        ({"adversarial": {"attack": "shifts"}}, "did you mean 'shift'"),
        ({"smooth_encoder": {"weight": -1.0}}, "smooth_encoder weight"),
        ({"input_noise": {"noise": -1.0}}, "input_noise noise"),
        ({"variance_floor": {"min_stddev": 0}}, "min_stddev"),
        ({"lipschitz": {"bound": 0}}, "lipschitz bound"),
        ({"lipschitz": {"max_stddev": 1e-5}}, "lipschitz max_stddev"),
        ({"mcmc": {"chain_steps": 0}}, "chain_steps"),
    ],
)
def test_bad_options_are_named(defences, message):
    with pytest.raises(ValueError, match=message):
        settings.check("defences", defences)
