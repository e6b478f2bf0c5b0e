"""The report of the trial of defences."""

import numpy as np

from seatbelt_tf import figures
from seatbelt_tf.evaluation.downstream import TASKS
from seatbelt_tf.figures import charts
from trainers.studies import cells
from trainers.studies import defences as trial
from trainers.studies.reports import common
from trainers.studies.study import Report, in_words, interval
from trainers.studies.tables import number
from trainers.studies.zoo import OBJECTIVES

ERROR = "squared error / plain VAE's"
CERTIFIED_RADII = (0.1, 0.5, 1.0)


def report(zoo, findings):
    """Tables of the tuning, the trial and the certificates; quality against robustness."""
    chosen = trial.chosen(zoo, findings)
    tables = {"tuning": _tuning(zoo, findings, chosen)}
    finished = [s for s in chosen if _of(zoo, findings, s, zoo.strongest(s))]
    if not finished:
        return Report(tables, {})
    tables["defences"] = [_row(zoo, findings, setting) for setting in finished]
    certificates = [row for s in finished for row in _certificates(zoo, findings, s)]
    if certificates:
        tables["certificates"] = certificates
    classified = [row for setting in finished for row in _downstream(zoo, findings, setting)]
    if classified:
        tables["downstream"] = classified
    areas = [_area(zoo, findings, setting) for setting in finished]
    least = int(np.argmin(np.nan_to_num(areas, nan=np.inf)))
    ours = (
        f"least {common.AREA}: {title(finished[least])} {number(areas[least])} at "
        f"{tables['defences'][least][ERROR]} times the plain VAE's squared error"
    )
    return Report(tables, _figures(zoo, findings, finished), ours=ours)


def title(setting):
    """A setting in words."""
    options = [
        f"{name.removeprefix('defence_').replace('_', ' ')} {value:g}"
        for name, value in setting.flags
        if not isinstance(value, str)
    ]
    units = dict(setting.flags).get("latent_dims")
    options += [f"units {units.replace(',', ' ')}"] if units else []
    return ", ".join([setting.defence, *options])


def _models(zoo, setting):
    """The setting's models, one a seed."""
    return [zoo.defended(setting, seed) for seed in zoo.scale.seeds]


def _of(zoo, findings, setting, measure):
    """What was found of a setting by seed, of the finished ones."""
    return findings.finished(_models(zoo, setting), measure)


def _values(zoo, findings, setting, measure, name):
    """(S, P) values of a measure; None without any."""
    return findings.over_seeds(_models(zoo, setting), measure, name)


def _area(zoo, findings, setting):
    """The mean area above blending of the trial, NaN without any pair that has one."""
    measure = zoo.strongest(setting)
    mean, _, _ = interval(_values(zoo, findings, setting, measure, "area_above_blending"))
    return mean


def _tuning(zoo, findings, chosen):
    rows, plain = [], trial.tuned(zoo, findings, trial.NONE)
    for setting in zoo.scale.defences:
        found = trial.tuned(zoo, findings, setting)
        area, error = found or (np.nan, np.nan)
        rows.append(
            {
                "setting": title(setting),
                f"{common.AREA}, validation": number(area),
                "squared error / plain VAE's, validation": number(
                    error / plain[1] if plain else np.nan
                ),
                "chosen": "yes" if setting in chosen else "",
            }
        )
    return rows


def _row(zoo, findings, setting):
    """One row of the trial."""

    def values(name, measure=None, of=setting):
        return _values(zoo, findings, of, measure or zoo.strongest(of), name)

    areas, plain = values("area_above_blending"), values("area_above_blending", of=trial.NONE)
    same = plain is not None and len(plain) == len(areas)
    both = [(_models(zoo, which), zoo.strongest(which)) for which in (trial.NONE, setting)]
    error, plain_error = values("squared_error"), values("squared_error", of=trial.NONE)
    clean = _of(zoo, findings, setting, zoo.clean())
    shifts = _values(zoo, findings, setting, zoo.damage(setting), "damage")
    row = {
        "setting": title(setting),
        "seeds": len(areas),
        common.AREA: in_words(areas),
        "less than the plain VAE's": in_words(findings.differences(*both, "area_above_blending")),
        "share of the plain VAE's": number(_mean(areas) / _mean(plain) if same else np.nan),
        ERROR: number(float(error.mean() / plain_error.mean()) if same else np.nan, 4),
        "log p(x|z)": common.mean(clean, "log_likelihood"),
        "ELBO": common.mean(clean, "elbo"),
        **{
            f"{common.AREA}, {objective} alone": in_words(values(f"area_{objective}"))
            for objective in OBJECTIVES
        },
        "norm for half the gap": in_words(values("norm_to_half")),
    }
    for place, radius in enumerate(dict(zoo.damage(setting).options)["radii"]):
        moved = None if shifts is None else shifts[:, place]
        row[f"farthest shift found within ‖d‖ = {radius:g}"] = in_words(moved)
    row["training, times the plain VAE's"] = number(_training_ratio(zoo, findings, setting))
    row["checks that fired"] = common.fired(findings, _models(zoo, setting), zoo.strongest(setting))
    return row


def _mean(values):
    """Of the finite values, NaN without any."""
    finite = values[np.isfinite(values)]
    return float(np.mean(finite)) if finite.size else np.nan


def _training_ratio(zoo, findings, setting):
    """Seconds of training relative to the plain VAE's, over the first seed."""
    runs = [
        cells.run_of(findings.store, zoo.defended(which, zoo.scale.seeds[0]))
        for which in (setting, trial.NONE)
    ]
    own, plain = map(cells.training_seconds, runs)
    return own / plain


def _certificates(zoo, findings, setting):
    """What is proven, apart from what attacks found: a row a setting with certificates."""
    found = [
        each for each in _of(zoo, findings, setting, zoo.damage(setting)) if "certified" in each
    ]
    if not found:
        return []
    radii = list(found[0]["radii"])
    shares = np.mean([each["certified"] for each in found], axis=(0, 2))
    slopes = [each["slope"].max() for each in _of(zoo, findings, setting, zoo.strongest(setting))]
    bound = found[0]["tolerance"] / found[0]["mean_radius"]
    return [
        {
            "setting": title(setting),
            "tolerance (half the median distance of two images)": number(
                float(found[0]["tolerance"])
            ),
            **{
                f"share certified at ‖d‖ = {radius:g} (samples, probability 0.9)": number(
                    float(shares[radii.index(radius)])
                )
                for radius in CERTIFIED_RADII
            },
            "certified radius of every mean reconstruction": number(float(found[0]["mean_radius"])),
            "certified slope": number(float(bound), 4),
            "steepest attack found": number(float(max(slopes)), 4),
            "attacks that broke a certificate": int(
                sum(each["violations"] for each in found) + np.sum(np.array(slopes) > bound)
            ),
        }
    ]


def _downstream(zoo, findings, setting):
    """Accuracies of classifiers behind a setting, a row a classifier."""
    measure = zoo.downstream(trial.END_TO_END_RADII)
    distances = _values(zoo, findings, setting, measure, "distortion_norm")
    if distances is None:
        return []
    rows = []
    for task in TASKS:
        clean, attacked, end_to_end = (
            _values(zoo, findings, setting, measure, f"{kind}_{task}")
            for kind in ("clean", "attacked", "end_to_end")
        )
        rows.append(
            {
                "setting": title(setting),
                "classifier": task,
                "clean": in_words(clean),
                "attacked, λ = 1": in_words(attacked),
                **{
                    f"attacked end to end, ‖d‖ ≤ {radius:g}": in_words(found)
                    for radius, found in zip(
                        trial.END_TO_END_RADII, np.moveaxis(end_to_end, 1, 0), strict=True
                    )
                },
                "‖d‖, λ = 1": number(float(distances.mean())),
            }
        )
    return rows


def _figures(zoo, findings, settings):
    """Quality against robustness; curves of the front; reconstructions and samples of all."""
    groups, means = {}, {}
    plain = _values(zoo, findings, trial.NONE, zoo.strongest(trial.NONE), "squared_error")
    for setting in settings if plain is not None else ():
        measure = zoo.strongest(setting)
        errors = _values(zoo, findings, setting, measure, "squared_error") / plain.mean()
        areas = _values(zoo, findings, setting, measure, "area_above_blending")
        # Without a gap between images and targets there is nothing to attack.
        if np.any(np.isfinite(areas)):
            groups[title(setting)] = errors, [_mean(row) for row in areas]
            means[setting] = float(errors.mean()), _mean(areas)
    pictures = {}
    if groups:
        best = front(means)
        drawn = charts.points(
            groups,
            xlabel=ERROR,
            ylabel=common.AREA,
            line=[means[setting] for setting in best],
        )
        pictures["front"] = charts.panels({"less is better on both axes; line: the front": drawn})
        curves = {}
        for setting in best:
            found = _of(zoo, findings, setting, zoo.strongest(setting))
            norms, attacked = found[0]["curve_norms"], [each["attack_curves"] for each in found]
            curves[title(setting)] = np.nanmean(attacked, axis=(0, 1))
        pictures["distortion_curves"] = figures.distortion_curves(norms, curves)
    for name in ("reconstructions", "samples"):
        measure = zoo.clean() if name == "reconstructions" else zoo.samples()
        found = {title(setting): _of(zoo, findings, setting, measure) for setting in settings}
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
