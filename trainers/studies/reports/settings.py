"""The settings of the trial of defences in words, and what was found of each."""

import numpy as np


def title(setting):
    """A setting in words."""
    options = [setting.variant] if setting.variant else []
    for name, value in setting.flags:
        words = name.removeprefix("defence_").replace("_", " ")
        if not isinstance(value, str):
            options.append(f"{value:g}" if words == setting.defence else f"{words} {value:g}")
    options += [f"{setting.units} times the units"] if setting.units > 1 else []
    options += [f"{setting.longer} times the steps"] if setting.longer > 1 else []
    return ", ".join([setting.defence, *options])


def models(zoo, setting):
    """The setting's models, one a seed."""
    return [zoo.defended(setting, seed) for seed in zoo.scale.seeds]


def finished(zoo, findings, setting, measure):
    """What was found of a setting by seed, of the finished ones."""
    return findings.finished(models(zoo, setting), measure)


def values(zoo, findings, setting, measure, name):
    """(S, P) values of a measure; None without any."""
    return findings.over_seeds(models(zoo, setting), measure, name)


def finite_mean(numbers):
    """Of the finite ones, NaN without any."""
    finite = numbers[np.isfinite(numbers)]
    return float(np.mean(finite)) if finite.size else np.nan
