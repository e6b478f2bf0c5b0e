"""The report of the trial of defences."""

import numpy as np

from seatbelt_tf.attacks import diagnostics
from seatbelt_tf.evaluation import intervals
from seatbelt_tf.evaluation.downstream import TASKS
from trainers.studies import defences as trial
from trainers.studies.reports import common, defence_figures, settings
from trainers.studies.study import Report, in_words
from trainers.studies.tables import number, words
from trainers.studies.zoo import OBJECTIVES

SHARE = "share of the plain VAE's area"
WITHOUT_CHAIN = {
    "area_transferred": "transferred from the model without its chain",
    "area_without_chain": "of the model without its chain",
}
# Of the plain VAE's area above blending, by limit of the squared error.
GOALS = dict(zip(trial.LIMITS, (0.25, 0.1), strict=True))


def report(zoo, findings):
    """Tables of the tuning, the trial and the certificates; quality against robustness."""
    chosen = trial.chosen(zoo, findings)
    tables = {"tuning": _tuning(zoo, findings, chosen)}
    finished = [s for s in chosen if settings.finished(zoo, findings, s, zoo.strongest(s))]
    # All are held against the plain VAE.
    if trial.NONE not in finished:
        return Report(tables, {}, ours="tuned on validation pairs, not judged yet")
    goals = list(_goals(zoo, findings))
    tables |= {
        "goals": goals,
        "defences": [_row(zoo, findings, setting) for setting in finished],
        "attacks": [_attacks_row(zoo, findings, setting) for setting in finished],
        "added": [
            _added(zoo, findings, *each) for each in trial.ADDED if set(each[1:]) <= {*finished}
        ],
        "certificates": [row for s in finished for row in _certificates(zoo, findings, s)],
        "projection": [row for s in finished for row in _projection(zoo, findings, s)],
        "downstream": [row for s in finished for row in _downstream(zoo, findings, s)],
        "end_to_end": [row for s in finished for row in _end_to_end(zoo, findings, s)],
    }
    return Report(tables, defence_figures.drawn(zoo, findings, finished), ours=_summary(goals))


def _summary(goals):
    """The settings held against the goals, once each, in words."""
    limits = {}
    for row in goals:
        limits.setdefault((row["chosen"], row[SHARE].split()[0]), []).append(row["limit"])
    shares = "; ".join(
        f"{share} by {chosen} (chosen within {' and '.join(within)} times its squared error)"
        for (chosen, share), within in limits.items()
    )
    return f"{SHARE}: {shares}" if shares else ""


def _tuning(zoo, findings, chosen):
    rows, plain = [], trial.tuned(zoo, findings, trial.NONE)
    for setting in zoo.scale.defences:
        found = trial.tuned(zoo, findings, setting)
        area, error = found or (np.nan, np.nan)
        rows.append(
            {
                "setting": settings.title(setting),
                f"{common.AREA}, validation": number(area),
                "squared error, validation": number(error),
                "squared error / plain VAE's, validation": number(
                    error / plain[1] if plain else np.nan
                ),
                "on trial": "yes" if setting in chosen else "",
            }
        )
    return rows


def _both(zoo, findings, setting, name):
    """(S, P) values of a setting and of the plain VAE under the same attacks, seed by seed."""
    if setting.is_random and name == "area_above_blending":
        # Without its chain it is a plain VAE, attacked with as many evaluations.
        own, plain = (
            settings.values(zoo, findings, setting, zoo.strongest(setting), field)
            for field in (name, "area_without_chain")
        )
        return None if own is None else (own, plain)
    found = findings.both(
        *((settings.models(zoo, each), zoo.strongest(each)) for each in (setting, trial.NONE))
    )
    if not found:
        return None
    return tuple(np.stack([pair[place][name] for pair in found]) for place in (0, 1))


def _ratio(pair, digits=3):
    """The ratio of the means of two (S, P) arrays with its interval, in words; "—" for None."""
    if pair is None:
        return "—"
    return words(*_ratio_interval(pair), digits)


def _ratio_interval(pair):
    usable = np.all(np.isfinite(pair), axis=(0, 1))
    own, plain = (values[:, usable] for values in pair)
    if not plain.size or plain.mean() <= 0:
        return (np.nan,) * 3
    return intervals.crossed_ratio_interval(own, plain)


def _goals(zoo, findings):
    """Whether the settings chosen for a limit reach its goal on test images, a row a limit."""
    for limit, setting in trial.winners(zoo, findings).items():
        areas, errors = (
            _both(zoo, findings, setting, name) for name in ("area_above_blending", "squared_error")
        )
        if areas is None:
            continue
        mean, lower, upper = _ratio_interval(areas)
        goal = GOALS[limit]
        verdict = "reached" if upper <= goal else "not reached" if lower > goal else "undecided"
        yield {
            "limit": f"{limit:g}",
            "chosen": settings.title(setting),
            common.ERROR: _ratio(errors, 4),
            SHARE: words(mean, lower, upper),
            "goal": f"{goal:g}",
            "verdict": verdict,
        }


def _row(zoo, findings, setting):
    """One row of the trial."""

    def values(name):
        return settings.values(zoo, findings, setting, zoo.strongest(setting), name)

    areas, errors = values("area_above_blending"), values("squared_error")
    both = _both(zoo, findings, setting, "area_above_blending")
    clean = settings.finished(zoo, findings, setting, zoo.clean())
    # Evaluation knows nothing of chains.
    quality = ("—", "—")
    if not setting.is_random:
        quality = (common.mean(clean, name) for name in ("log_likelihood", "elbo"))
    dims = zoo.defended(setting, 0).option("latent_dims")
    return {
        "setting": settings.title(setting),
        "units": dims or f"{zoo.scale.depth} layers",
        "pairs": int(np.sum(np.all(np.isfinite(areas), axis=0))),
        common.AREA: in_words(areas),
        "by seed": " ".join(number(settings.finite_mean(row)) for row in areas),
        "less than the plain VAE's": in_words(None if both is None else both[1] - both[0]),
        SHARE: _ratio(both),
        "squared error": number(float(errors.mean()), 4),
        common.ERROR: _ratio(_both(zoo, findings, setting, "squared_error"), 4),
        **dict(zip(("log p(x|z)", "ELBO"), quality, strict=True)),
        "checks that fired": _fired(zoo, findings, setting),
    }


def _fired(zoo, findings, setting):
    """The checks that fired, as words; measurements of earlier versions did not make this one."""
    measure = zoo.strongest(setting)
    above = [
        each[f"area_{objective}"]
        for each in settings.finished(zoo, findings, setting, measure)
        for objective in OBJECTIVES
    ]
    made = [diagnostics.weaker_than_blending(area, np.zeros_like(area)) for area in above]
    more = [check.name for check in made if check.fired]
    return common.fired(findings, settings.models(zoo, setting), measure, more)


def _attacks_row(zoo, findings, setting):
    """What each attack did to a setting, those that have no target among them."""
    measure = zoo.strongest(setting)
    row = {
        "setting": settings.title(setting),
        **{
            f"{common.AREA}, {objective} alone": in_words(
                settings.values(zoo, findings, setting, measure, f"area_{objective}")
            )
            for objective in OBJECTIVES
        },
        **{
            f"{common.AREA}, {whose}": in_words(
                settings.values(zoo, findings, setting, measure, field)
                if setting.is_random
                else None
            )
            for field, whose in WITHOUT_CHAIN.items()
        },
        "norm for half the gap": in_words(
            settings.values(zoo, findings, setting, measure, "norm_to_half")
        ),
    }
    found = settings.finished(zoo, findings, setting, zoo.damage(setting))
    for place, radius in enumerate(dict(zoo.damage(setting).options)["radii"]):
        moved = np.stack([each["damage"][place] for each in found]) if found else None
        row[f"farthest shift within ‖d‖ = {radius:g}"] = in_words(moved)
    typical = [float(each["typical"]) for each in found]
    row["typical distance of two reconstructions"] = (
        number(float(np.mean(typical))) if found else "—"
    )
    return row


def _added(zoo, findings, what, with_it, without):
    """What the paper's penalty, a hierarchy or a defence adds to the same model without it."""

    def compared(name, measure, reduce=np.asarray):
        results = [(settings.models(zoo, s), measure(s)) for s in (with_it, without)]
        return in_words(findings.differences(*results, name, reduce))

    return {
        "added": what,
        "with": settings.title(with_it),
        "without": settings.title(without),
        f"{common.AREA} (difference)": compared("area_above_blending", zoo.strongest),
        "area of attacks and blending (difference)": compared("attack_area", zoo.strongest),
        "norm for half the gap (difference)": compared("norm_to_half", zoo.strongest),
        "squared error (difference)": compared("squared_error", zoo.strongest),
        "ELBO (difference)": compared("elbo", lambda _: zoo.clean(), np.atleast_1d),
    }


def _certificates(zoo, findings, setting):
    """What is proven, apart from what attacks found: a row a tolerance."""
    measure = zoo.certificates()
    found = settings.finished(zoo, findings, setting, measure)
    probability = dict(measure.options)["probability"]
    attacks = settings.finished(zoo, findings, setting, zoo.strongest(setting))
    untargeted = settings.finished(zoo, findings, setting, zoo.damage(setting))
    slopes = np.concatenate(
        [each["slope"] for each in attacks]
        + [np.ravel(each["damage"] / each["radii"][:, None]) for each in untargeted]
    )
    rows = []
    for place, tolerance in enumerate(found[0]["tolerances"] if found else ()):
        shares = {
            f"share certified at ‖d‖ = {radius:g} (samples, probability {probability:g})": in_words(
                np.stack([each["certified"][place, column] for each in found])
            )
            for column, radius in enumerate(found[0]["radii"])
        }
        broken = np.sum(slopes > found[0]["bound"]) + sum(each["mean_violations"] for each in found)
        rows.append(
            {
                "setting": settings.title(setting),
                "tolerance": number(float(tolerance)),
                **shares,
                "radius of every mean reconstruction": number(
                    float(found[0]["mean_radius"][place])
                ),
                "certified slope": number(float(found[0]["bound"]), 4),
                "steepest attack found": number(float(np.max(slopes)), 4),
                "pairs and attacks that broke it": int(broken),
                "images whose samples broke theirs, all tolerances": "{} of {}".format(
                    *(
                        int(sum(each[f"sample_{name}"] for each in found))
                        for name in ("violations", "checks")
                    )
                ),
            }
        )
    return rows


def _projection(zoo, findings, setting):
    """What the decoder's network adds to principal components: one row, or none."""
    found = settings.finished(zoo, findings, setting, zoo.projection())
    if not found:
        return []
    alone, error, norm = (
        np.stack([each[name] for each in found])
        for name in ("projection_error", "squared_error", "network_norm")
    )
    return [
        {
            "setting": settings.title(setting),
            "squared error, principal components alone": in_words(alone, 4),
            "squared error": in_words(error, 4),
            "difference": in_words(error - alone),
            "norm of what the network adds": in_words(norm),
        }
    ]


def _downstream(zoo, findings, setting):
    """Accuracies of classifiers behind a setting, a row a classifier."""
    measure = zoo.downstream(trial.END_TO_END_RADII)
    found = settings.finished(zoo, findings, setting, measure)
    rows = []
    for task in TASKS if found else ():
        before = np.stack([_clean(each, task) for each in found])
        attacked = np.stack([each[f"attacked_{task}"] for each in found])
        rows.append(
            {
                "setting": settings.title(setting),
                "classifier": task,
                "clean": in_words(
                    settings.values(zoo, findings, setting, measure, f"clean_{task}")
                ),
                "clean, the attacked images": in_words(before),
                "attacked, λ = 1": in_words(attacked),
                "drop": in_words(attacked.astype(float) - before),
                "‖d‖, λ = 1": number(float(np.mean([each["distortion_norm"] for each in found]))),
            }
        )
    return rows


def _clean(found, task):
    """Whether a classifier is right on the images that are attacked, before: (A,) bool."""
    return found[f"clean_{task}"][found["rows"]].astype(bool)


def _right(found, task):
    """Whether it is right when the attacker sees it, too: (R, A) by radius, bool."""
    return found[f"end_to_end_{task}"].astype(bool)


def _lost(found, task):
    """What that took away: (R, A)."""
    return _clean(found, task).astype(float) - _right(found, task)


def _end_to_end(zoo, findings, setting):
    """Accuracies under attacks that see model and classifier, a row a classifier and radius.

    All are of the attacked images. What is lost, and how much less that is than behind the plain
    VAE, does not count in a model's favour that its classifier was better to begin with.
    """
    measure = zoo.downstream(trial.END_TO_END_RADII)
    own = settings.finished(zoo, findings, setting, measure)
    both = findings.both(*((settings.models(zoo, s), measure) for s in (setting, trial.NONE)))
    rows = []
    for task in TASKS if own else ():
        clean = in_words(np.stack([_clean(one, task) for one in own]))
        by_radius = {
            "attacked": [_right(one, task) for one in own],
            "lost": [_lost(one, task) for one in own],
            "attacked, more than the plain VAE's": [
                _right(one, task).astype(float) - _right(plain, task) for one, plain in both
            ],
            "lost, less than the plain VAE's": [
                _lost(plain, task) - _lost(one, task) for one, plain in both
            ],
        }
        for place, radius in enumerate(trial.END_TO_END_RADII):
            rows.append(
                {
                    "setting": settings.title(setting),
                    "classifier": task,
                    "‖d‖ ≤": number(radius),
                    "clean": clean,
                    **{
                        name: in_words(np.stack(values)[:, place] if values else None)
                        for name, values in by_radius.items()
                    },
                }
            )
    return rows
