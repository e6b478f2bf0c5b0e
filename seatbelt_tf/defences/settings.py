"""The defences' options, their defaults and ranges, checked without TensorFlow."""

from collections.abc import Callable, Mapping
from typing import Any

from seatbelt_tf import checks

ATTACKS = ("shift", "divergence", "target", "target_latent")
# What training against attacks maximises is in `perturbations`; distances are in pixel units.
DEFAULTS: dict[str, dict[str, Any]] = {
    "adversarial": {"radius": 4.0, "steps": 2, "weight": 0.5, "attack": "shift"},
    "input_noise": {"noise": 0.1},
    "learned_scale": {},
    "lipschitz": {"bound": 1.0, "latent_scale": 0.4, "max_stddev": 1.0},
    "mcmc": {"chain_steps": 5, "leapfrog_steps": 5, "step_size": 0.1},
    "pca": {},
    "smooth_encoder": {"radius": 4.0, "steps": 2, "weight": 1.0},
    "variance_floor": {"min_stddev": 0.1},
}
# What a `base.Defence` does, so that no option may have the name.
HOOKS = (
    "networks",
    "build",
    "adapt",
    "is_adapted",
    "shown",
    "posterior",
    "embedding",
    "scale",
    "loss",
    "inferred",
)


def _positive(name, value):
    return checks.finite_number(name, value, above=0)


def _share(name, value):
    value = checks.finite_number(name, value, minimum=0)
    if value > 1:
        raise checks.invalid(name, "a number from 0 to 1", value)
    return value


_CHECKS = {
    "radius": _positive,
    "steps": checks.positive_integer,
    "weight": lambda name, value: checks.finite_number(name, value, minimum=0),
    "attack": lambda name, value: checks.one_of(name, value, ATTACKS),
    "noise": _positive,
    "bound": _positive,
    "latent_scale": _positive,
    # As the networks' least standard deviation is, which it has to be above.
    "max_stddev": lambda name, value: checks.finite_number(name, value, above=1e-4),
    "chain_steps": checks.positive_integer,
    "leapfrog_steps": checks.positive_integer,
    "step_size": _positive,
    "min_stddev": _positive,
}


def add(
    name: str, defaults: Mapping[str, Any], option_checks: Mapping[str, Callable] | None = None
) -> None:
    """Makes the options of a defence known that is no part of this package.

    Args:
        name: the defence's.
        defaults: dict of option name to value.
        option_checks: dict of option name to a function (name, value) -> value, as those of
            `checks`, for options that no other defence has; the others keep their meaning.

    Raises:
        ValueError: the name is taken, an option is called as a method of `Defence` is or has no
            check, or its default does not pass that.
    """
    if name in DEFAULTS:
        raise checks.invalid("name", "one that no defence has", repr(name))
    known = {**(option_checks or {}), **_CHECKS}
    checked = {}
    for option, value in defaults.items():
        checks.one_of(f"{name}'s option", option, known)
        if option in HOOKS:
            taken = ", ".join(HOOKS)
            raise checks.invalid(f"{name}'s option", f"none of {taken}", repr(option))
        checked[option] = known[option](f"{name} {option}", value)
    DEFAULTS[name] = checked
    _CHECKS.update(known)


def check(name: str, defences: dict[str, dict[str, Any]] | None) -> dict[str, dict[str, Any]]:
    """Every option of every defence, defaults filled in.

    Args:
        name: what to call the argument in a message.
        defences: None, or a dict of a defence's name to a dict of its options.

    Returns:
        The same as a dict of dicts, sorted by name.

    Raises:
        ValueError: an unknown defence or option, or a value out of range.
    """
    if defences is None:
        return {}
    if not isinstance(defences, dict):
        raise checks.invalid(name, "a dict of names to options, or None", repr(defences))
    if {"lipschitz", "pca"} <= set(defences):
        raise checks.invalid(name, "lipschitz or pca: both replace the encoder", sorted(defences))
    return {defence: _options(defence, defences[defence]) for defence in sorted(defences)}


def _options(defence, given):
    checks.one_of("defence", defence, DEFAULTS)
    if not isinstance(given, dict):
        raise checks.invalid(f"{defence}'s options", "a dict", repr(given))
    for option in given:
        if option not in DEFAULTS[defence]:
            names = ", ".join(DEFAULTS[defence]) or "none"
            raise checks.invalid(f"{defence}'s option", names, repr(option))
    options = DEFAULTS[defence] | given
    checked = {
        option: _CHECKS[option](f"{defence} {option}", value) for option, value in options.items()
    }
    if defence == "adversarial":
        # The rest of the weight is the clean images'.
        _share("adversarial weight", checked["weight"])
    return checked
