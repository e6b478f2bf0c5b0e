"""The figures of the trial of defences."""

import numpy as np

from seatbelt_tf import figures
from seatbelt_tf.figures import charts
from trainers.studies import defences as trial
from trainers.studies.reports import common, settings

# One point of a curve in so many is drawn.
DRAWN = 20
# So many defences have the curve of their setting of least area drawn.
CURVES = 4


def drawn(zoo, findings, chosen):
    """Quality against robustness; curves of what the paper compares and of the best defences.

    Reconstructions and samples of all.

    Args:
        zoo: the trial's `zoo.Zoo`.
        findings: what was measured, a `study.Findings`.
        chosen: the settings that are finished.

    Returns:
        {name: figure}.
    """
    groups, means = {}, {}
    plain = settings.values(zoo, findings, trial.NONE, zoo.strongest(trial.NONE), "squared_error")
    for setting in chosen if plain is not None else ():
        measure = zoo.strongest(setting)
        errors = settings.values(zoo, findings, setting, measure, "squared_error").mean(axis=1)
        errors /= plain.mean()
        areas = settings.values(zoo, findings, setting, measure, "area_above_blending")
        # Without a gap between images and targets there is nothing to attack.
        if np.any(np.isfinite(areas)):
            groups[settings.title(setting)] = errors, [settings.finite_mean(row) for row in areas]
            means[setting] = float(errors.mean()), settings.finite_mean(areas)
    pictures = {}
    if groups:
        best = front(means)
        points = charts.points(
            groups,
            xlabel=common.ERROR,
            ylabel=common.AREA,
            line=[means[setting] for setting in best],
        )
        # As high as its legend.
        pictures["front"] = charts.panels(
            {"less is better on both axes; ringed: the front": points},
            size=(8.5, max(3.6, 0.8 + 0.19 * len(groups))),
        )
        attacked, blended = {}, {}
        least = {}
        for setting in sorted(means, key=lambda setting: means[setting][1]):
            least.setdefault(setting.flag or setting.defence, setting)
        for setting in means:
            if setting in (trial.NONE, trial.TC_HIERARCHY, *list(least.values())[:CURVES]):
                found = settings.finished(zoo, findings, setting, zoo.strongest(setting))
                norms = found[0]["curve_norms"][::DRAWN]
                for name, curves in (("attack", attacked), ("blending", blended)):
                    values = [each[f"{name}_curves"][:, ::DRAWN] for each in found]
                    curves[settings.title(setting)] = np.nanmean(values, axis=(0, 1))
        pictures["distortion_curves"] = figures.distortion_curves(norms, attacked, blending=blended)
    for name in ("reconstructions", "samples"):
        measure = zoo.clean() if name == "reconstructions" else zoo.samples()
        found = {
            settings.title(setting): settings.finished(zoo, findings, setting, measure)
            for setting in chosen
        }
        shown = {label: each[0][name] for label, each in found.items() if each}
        if name == "reconstructions" and shown:
            shown = {"images": next(filter(None, found.values()))[0]["images"], **shown}
        if shown:
            rows = np.stack(list(shown.values()))
            pictures[name] = figures.traversals(rows, labels=list(shown), title=name)
    return pictures


def front(points):
    """Of a dict of name to (x, y) the names that no other is below in both, by x."""
    best = []
    for name in sorted(points, key=points.get):
        if not best or points[name][1] < points[best[-1]][1]:
            best.append(name)
    return best
