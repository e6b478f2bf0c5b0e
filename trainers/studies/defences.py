"""The trial of defences: every setting tuned on validation pairs, the chosen ones judged on others.

All models get the same images in the same batches. Of each defence's settings one is chosen whose
squared error on validation images is within a limit of the plain VAE's and whose area above
blending on validation pairs is the least.
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
        variant: what no number in its flags tells.
        is_deep: whether the model is the hierarchical one.
        beta: its β.
        units: how many times the plain VAE's units one layer has.
        longer: how many times as long it is trained.
        is_random: whether inference is random, so that attacks average over draws.
    """

    defence: str
    flags: tuple = ()
    variant: str = ""
    is_deep: bool = False
    beta: float = 1.0
    units: int = 1
    longer: int = 1
    is_random: bool = False

    @property
    def flag(self):
        """--defence of its models; empty without."""
        return dict(self.flags).get("defence", "")


def _adversarial(radius, goal="shift"):
    return (
        ("defence", "adversarial"),
        ("defence_attack", goal),
        ("defence_radius", radius),
    )


def _lipschitz(bound):
    return (("defence", "lipschitz"), ("defence_bound", bound))


def _mcmc(step_size):
    return (("defence", "mcmc"), ("defence_chain_steps", 2), ("defence_step_size", step_size))


_TC, _DEEP, _BOTH = {"beta": 6.0}, {"is_deep": True}, {"beta": 6.0, "is_deep": True}
_PCA = (("defence", "pca"),)
NONE = Setting("none")
MORE_UNITS = Setting("none, more units", units=4)
TC, HIERARCHY = Setting("TC", **_TC), Setting("hierarchy", **_DEEP)
TC_HIERARCHY = Setting("TC + hierarchy", **_BOTH)
ADVERSARIAL = Setting("adversarial", _adversarial(4.0))
ADVERSARIAL_UNITS = Setting("adversarial, more units", _adversarial(4.0), units=4)
ADVERSARIAL_TC = Setting("TC + adversarial", _adversarial(4.0), **_TC)
ADVERSARIAL_HIERARCHY = Setting("hierarchy + adversarial", _adversarial(4.0), **_DEEP)
ADVERSARIAL_BOTH = Setting("TC + hierarchy + adversarial", _adversarial(4.0), **_BOTH)
PCA, PCA_UNITS = Setting("PCA", _PCA), Setting("PCA", _PCA, units=4)
PCA_TC = Setting("TC + PCA", _PCA, **_TC)
PCA_HIERARCHY = Setting("hierarchy + PCA", _PCA, **_DEEP)
# What is added, with and without, on top of what: the lowest layer of the hierarchies has about as
# many units as the single layers that they are compared with.
ADDED = (
    ("TC", TC, NONE),
    ("TC", ADVERSARIAL_TC, ADVERSARIAL),
    ("TC", PCA_TC, PCA),
    ("hierarchy", HIERARCHY, MORE_UNITS),
    ("hierarchy", ADVERSARIAL_HIERARCHY, ADVERSARIAL_UNITS),
    ("hierarchy", PCA_HIERARCHY, PCA_UNITS),
    ("TC", TC_HIERARCHY, HIERARCHY),
    ("TC", ADVERSARIAL_BOTH, ADVERSARIAL_HIERARCHY),
    # All others are held against one with as few units.
    ("PCA", PCA_UNITS, MORE_UNITS),
    ("adversarial training", ADVERSARIAL_UNITS, MORE_UNITS),
)
_ADDED = {setting for _, *both in ADDED for setting in both}
SETTINGS = (
    NONE,
    MORE_UNITS,
    TC,
    HIERARCHY,
    TC_HIERARCHY,
    *(Setting("likelihood scale", (("likelihood_scale", scale),)) for scale in (0.2, 0.5)),
    Setting("likelihood scale", (("defence", "learned_scale"),), "learned"),
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
    ADVERSARIAL,
    Setting("adversarial", _adversarial(8.0)),
    Setting("adversarial", _adversarial(4.0, "target_latent"), "towards a target"),
    ADVERSARIAL_UNITS,
    *(Setting("Lipschitz", _lipschitz(bound)) for bound in (1.0, 1.5)),
    PCA,
    PCA_UNITS,
    *(Setting("MCMC", _mcmc(size), is_random=True) for size in (0.1, 0.5)),
    ADVERSARIAL_TC,
    ADVERSARIAL_HIERARCHY,
    ADVERSARIAL_BOTH,
    PCA_TC,
    PCA_HIERARCHY,
    Setting("none, longer training", longer=4),
)
# For tests: one of each kind.
FEW = (NONE, TC, Setting("Lipschitz", _lipschitz(1.0)))


def tuning(zoo):
    """Cells: every setting once, attacked on validation pairs."""
    seed = zoo.scale.seeds[0]
    return [
        Cell(zoo.defended(setting, seed), (zoo.tuning(setting),)) for setting in zoo.scale.defences
    ]


def trial(zoo, findings):
    """Cells: the chosen settings with every seed, attacked on test pairs; none before tuning.

    First the plain VAE, which all are held against, then what else classifiers are put behind, the
    other defences, and what `ADDED` compares; of each first what tuning found to have least area.
    """
    shown, settings = compared(zoo, findings), chosen(zoo, findings)

    def place(setting):
        area = tuned(zoo, findings, setting)
        return setting != NONE, setting not in shown, setting in _ADDED, area

    return [
        Cell(
            zoo.defended(setting, seed),
            (
                zoo.clean(),
                # Only drawn.
                *((zoo.samples(),) if seed == zoo.scale.seeds[0] else ()),
                zoo.strongest(setting),
                zoo.damage(setting),
                *((zoo.certificates(),) if is_certified(setting) else ()),
                *((zoo.projection(),) if has_components(setting) else ()),
                *((zoo.downstream(END_TO_END_RADII),) if setting in shown else ()),
            ),
        )
        for setting in sorted(settings, key=place)
        for seed in zoo.scale.seeds
    ]


def is_certified(setting):
    """Whether something is proven of its models."""
    return "lipschitz" in setting.flag


def has_components(setting):
    """Whether the encoder of its models is principal components."""
    return setting.flag == "pca"


def chosen(zoo, findings):
    """The settings that go on trial, in their order: tuple of `Setting`; empty before tuning's end.

    Of each defence the setting of least area within the stricter limit, without any within the
    other, or else the least harmful; the winners; and those of `ADDED`.
    """
    found = _all_tuned(zoo, findings)
    if not found:
        return ()
    best = {NONE, *winners(zoo, findings).values()}
    best |= _ADDED
    for defence in {setting.defence for setting in found}:
        own = {setting: found[setting] for setting in found if setting.defence == defence}
        for limit in LIMITS:
            within = [setting for setting in _within(limit, found) if setting in own]
            if within:
                best.add(min(within, key=found.get))
                break
        else:
            best.add(min(own, key=lambda setting: found[setting][1]))
    return tuple(setting for setting in found if setting in best)


def winners(zoo, findings):
    """Dict of limit to the setting of least area within it; empty before tuning's end.

    Random inference is attacked on fewer pairs and not compared here.
    """
    found = _all_tuned(zoo, findings)
    settled = {setting: found[setting] for setting in found if not setting.is_random}
    return {limit: min(_within(limit, settled), key=settled.get) for limit in LIMITS if settled}


def compared(zoo, findings):
    """The settings that classifiers are put behind: set of `Setting`; empty before tuning's end.

    The winners, adversarial training as it is and as `--preset=robust_adversarial` has it, and what
    the paper compares; none without classes.
    """
    best = set(winners(zoo, findings).values())
    others = {NONE, TC, TC_HIERARCHY, ADVERSARIAL, ADVERSARIAL_HIERARCHY}
    return best | others if best and zoo.has_classes else set()


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
    area = float(np.nanmean(found["area_above_blending"]))
    # Without any pair that has a gap nothing is known: the worst.
    return area if np.isfinite(area) else np.inf, float(np.mean(found["squared_error"]))
