"""The trial of defences: every setting tuned on validation pairs, the chosen ones judged on others.

All models get the same images in the same batches. A setting is chosen for a defence when, of those
whose squared error on validation images is within a limit of the plain VAE's, its area above
blending on validation pairs is the least; there are two limits, and so up to two settings.
"""

from typing import NamedTuple

import numpy as np

from trainers.studies.cells import Cell

# Squared error of the reconstruction, relative to that of the plain VAE.
LIMITS = (1.05, 1.15)
# L2, pixels in [-1, 1], of attacks that see model and classifier.
END_TO_END_RADII = (0.25, 0.5, 1.0, 2.0)


class Setting(NamedTuple):
    """One setting of a defence, or of several together.

    Attributes:
        defence: what a table calls it, the same for all its settings; "none" is the plain VAE.
        flags: flags of trainers.train, as (name, value)s.
        is_deep: whether the model is the hierarchical one.
        beta: its β.
        is_random: whether inference is random, so that attacks average over draws; such an
            attack is given a quarter of the λ and of the evaluations.
    """

    defence: str
    flags: tuple = ()
    is_deep: bool = False
    beta: float = 1.0
    is_random: bool = False


def _adversarial(radius, goal="shift"):
    return (
        ("defence", "adversarial"),
        ("defence_attack", goal),
        ("defence_radius", radius),
    )


def _lipschitz(bound):
    return (("defence", "lipschitz"), ("defence_bound", bound))


def _pca(latent_dims):
    return (("defence", "pca"), ("latent_dims", str(latent_dims)))


NONE = Setting("none")
_BOTH = (
    ("defence", "adversarial,lipschitz"),
    ("defence_bound", 1.5),
    ("defence_radius", 4.0),
)
SETTINGS = (
    NONE,
    Setting("β-TCVAE", beta=6.0),
    Setting("Seatbelt-VAE", is_deep=True, beta=6.0),
    *(Setting("likelihood scale", (("likelihood_scale", scale),)) for scale in (0.2, 0.5)),
    Setting("learned scale", (("defence", "learned_scale"),)),
    *(
        Setting("input noise", (("defence", "input_noise"), ("defence_noise", noise)))
        for noise in (0.1, 0.3)
    ),
    *(
        Setting("variance floor", (("defence", "variance_floor"), ("defence_min_stddev", floor)))
        for floor in (0.1, 0.3)
    ),
    *(
        Setting("smooth encoder", (("defence", "smooth_encoder"), ("defence_weight", weight)))
        for weight in (1.0, 10.0)
    ),
    *(Setting("adversarial", _adversarial(radius)) for radius in (4.0, 8.0)),
    Setting("adversarial, target", _adversarial(4.0, "target_latent")),
    *(Setting("Lipschitz", _lipschitz(bound)) for bound in (1.0, 1.25, 1.5)),
    Setting("Lipschitz + adversarial", _BOTH),
    *(Setting("PCA", _pca(units)) for units in (128, 256, 384)),
    # Whether it is the units that help.
    Setting("more units", (("latent_dims", "256"),)),
    Setting("MCMC", (("defence", "mcmc"), ("defence_chain_steps", 2)), is_random=True),
    Setting("TC + adversarial", _adversarial(4.0), beta=6.0),
    Setting("TC + hierarchy + adversarial", _adversarial(4.0), is_deep=True, beta=6.0),
    Setting("TC + hierarchy + Lipschitz", _lipschitz(1.5), is_deep=True, beta=6.0),
    Setting("TC + PCA", _pca(256), beta=6.0),
    Setting("TC + hierarchy + PCA", _pca("256,24,12,6"), is_deep=True, beta=6.0),
)
# For tests: one of each kind.
FEW = (NONE, SETTINGS[1], Setting("Lipschitz", _lipschitz(1.0)))


def tuning(zoo):
    """Cells: every setting once, attacked on validation pairs."""
    seed = zoo.scale.seeds[0]
    return [
        Cell(zoo.defended(setting, seed), (zoo.clean(), zoo.tuning(setting)))
        for setting in zoo.scale.defences
    ]


def trial(zoo, findings):
    """Cells: the chosen settings with every seed, attacked on test pairs; none before tuning."""
    shown = compared(zoo, findings)
    return [
        Cell(
            zoo.defended(setting, seed),
            (
                zoo.clean(),
                zoo.samples(),
                zoo.strongest(setting),
                zoo.damage(setting),
                *((zoo.downstream(END_TO_END_RADII),) if setting in shown else ()),
            ),
        )
        for setting in chosen(zoo, findings)
        for seed in zoo.scale.seeds
    ]


def chosen(zoo, findings):
    """The settings that tuning chose, in their order: tuple of `Setting`; empty before its end."""
    found = _all_tuned(zoo, findings)
    best = {NONE} if found else set()
    for limit in LIMITS:
        within = {}
        for setting in _within(limit, found):
            within.setdefault(setting.defence, []).append(setting)
        best.update(min(settings, key=found.get) for settings in within.values())
    # A defence without a setting of good enough quality is shown with its least harmful one.
    for defence in {setting.defence for setting in found} - {setting.defence for setting in best}:
        own = [setting for setting in found if setting.defence == defence]
        best.add(min(own, key=lambda setting: found[setting][1]))
    return tuple(setting for setting in found if setting in best)


def compared(zoo, findings):
    """The settings that classifiers are put behind: set of `Setting`; empty before tuning's end.

    The least area of all within each limit, and what the paper compares; none without classes.
    """
    found = _all_tuned(zoo, findings)
    if not found or not zoo.has_classes:
        return set()
    best = {min(_within(limit, found), key=found.get) for limit in LIMITS}
    return best | {setting for setting in found if not setting.flags}


def _all_tuned(zoo, findings):
    """Dict of setting to (area, squared error); empty unless all are tuned."""
    found = {setting: tuned(zoo, findings, setting) for setting in zoo.scale.defences}
    return {} if any(result is None for result in found.values()) else found


def _within(limit, found):
    return [setting for setting in found if found[setting][1] <= limit * found[NONE][1]]


def tuned(zoo, findings, setting):
    """(area above blending, squared error) on validation images; None before it is measured."""
    found = findings.of(zoo.defended(setting, zoo.scale.seeds[0]), zoo.tuning(setting))
    if found is None:
        return None
    return float(np.nanmean(found["area_above_blending"])), float(found["squared_error"])
