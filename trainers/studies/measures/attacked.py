"""What batteries of attacks find: a measure each of a battery, and of the strongest of several."""

import numpy as np

from seatbelt_tf import datasets, presets
from seatbelt_tf.batches import in_batches, l2_norms
from seatbelt_tf.datasets import sprites
from seatbelt_tf.evaluation import distortion, robustness
from trainers import batteries, splits
from trainers.studies.measures.common import SEED, squared_errors

FINE_NORMS = np.linspace(0.0, 1.0, 401)
LEAST_NORM = 0.01


def attack(model, run, config, pairs, weights, hearts_only=False, **options):
    """A battery's measures by pair, its curves, its diagnostics and its best attacks.

    `options`, here and below, are those of `attacks.attack`.
    """
    ends = hearts(pairs) if hearts_only else batteries.pairs(config["data"], pairs, SEED)
    images, targets = ends
    chosen = {"hearts": hearts_only}
    battery, records = _attacked(model, run, config, ends, chosen, weights, **options)
    blending = batteries.blending_shares(battery)
    measured = robustness.by_pair(records, blending)
    return {
        **measured,
        **batteries.distances_by_pair(model, records, targets),
        **_curves(records, blending, np.isfinite(measured["attack_area"])),
        "fired": np.array(sorted(_fired(battery, records, blending)), str),
        **_panel(model, records, images, targets),
    }


def losses(model, run, config, pairs, weights, **options):
    """Δ of every attack of the same battery as `attack`'s: (P, W), and its λ, (W,)."""
    ends = batteries.pairs(config["data"], pairs, SEED)
    _, records = _attacked(model, run, config, ends, {"hearts": False}, weights, **options)
    by_weight = {name: records[name].reshape(pairs, weights) for name in ("loss", "weight")}
    return {"losses": by_weight["loss"], "weights": by_weight["weight"][0]}


def strongest(
    model,
    run,
    config,
    split,
    objectives,
    pairs,
    attacked,
    weights,
    images,
    transferred=False,
    **options,
):
    """Several batteries on the same pairs: at each distortion what closes most counts.

    `attacked` of the `pairs` are attacked, the first. Attacks may be scaled down, and mixing the
    target in counts as one of them, so that no area above blending is negative.
    "area_OBJECTIVE" is the area above blending of one alone; "slope" the farthest that any attack
    of a pair moved a reconstruction, relative to its distortion's norm; "squared_error" that of
    the reconstruction of each of so many `images`. With `transferred` the same attacks on the model
    without its chain count, too; "area_without_chain" is the area above blending of that model, by
    the attacks on it, whose checks are among "fired" as "without chain: …".
    """
    ends = [side[:attacked] for side in batteries.pairs(config["data"], pairs, SEED, split)]
    chosen = {"split": split, **({"chosen_of": pairs} if attacked < pairs else {})}
    attacks = ends, chosen, weights, objectives
    battery, found, blending, fired = _all_attacked(model, run, config, *attacks, **options)
    scaled = _each_with_smaller(battery.scorer, ends, found)
    beside = {}
    if transferred:
        scaled["transferred"], area, others = _transferred(
            model, run, config, *attacks, battery.scorer, **options
        )
        beside["area_without_chain"] = area
        fired |= others
    clean_images, _ = splits.first(config["data"], split, images)
    return {
        **_judged(found, scaled, blending),
        **beside,
        "slope": _slopes(model, _together(found.values()), ends[0]),
        "squared_error": squared_errors(in_batches(model, clean_images), clean_images),
        "fired": np.array(sorted(fired), str),
    }


def _all_attacked(model, run, config, ends, chosen, weights, objectives, **options):
    """Batteries of several objectives on the same pairs.

    Returns:
        (one of them, records by objective, the pairs' blending shares (P, K), the names of the
        diagnostics that fired for any).
    """
    found, fired, blending = {}, set(), None
    for objective in objectives:
        battery, found[objective] = _attacked(
            model, run, config, ends, chosen, weights, objective=objective, **options
        )
        # The same for all: their pairs and the draws that score them are.
        blending = batteries.blending_shares(battery) if blending is None else blending
        fired |= _fired(battery, found[objective], blending)
    return battery, found, blending, fired


def _transferred(model, run, config, ends, chosen, weights, objectives, scorer, **options):
    """The attacks on a model without its chain, and what they do to the model itself.

    Returns:
        (their records on the model itself, scored by `scorer`, the area above blending of the
        model without its chain (P,), the names of the diagnostics that fired for that).
    """
    apart, options = {**chosen, "without_chain": True}, {**options, "ancestors": "mean"}
    plain = model.surrogate()
    battery, found, blending, fired = _all_attacked(
        plain, run, config, ends, apart, weights, objectives, **options
    )
    through = {}
    for objective, records in found.items():
        attacked_ends = [side[records["pair"]] for side in ends]
        score = scorer(*attacked_ends, records["adversarial"])
        through[objective] = {**records, **score._asdict()}
    through = _together(_each_with_smaller(scorer, ends, through).values())
    scaled = _each_with_smaller(battery.scorer, ends, found)
    area = _judged(found, scaled, blending)["area_above_blending"]
    return through, area, {f"without chain: {name}" for name in fired}


def _judged(found, scaled, blending):
    """What several batteries on the same pairs close together, and each alone, by pair.

    Args:
        found: dict of name to records.
        scaled: the same with smaller attacks, and whatever else counts.
        blending: (P, K), see `batteries.blending_shares`.
    """
    measured = robustness.by_pair(_together(found.values()), blending)
    has_gap = np.isfinite(measured["attack_area"])
    curves = {
        name: _curves(records, blending, has_gap, FINE_NORMS)
        for name, records in {**scaled, "all": _together(scaled.values())}.items()
    }
    blended = curves["all"]["blending_curves"]
    areas = {
        f"area_{name}": np.trapezoid(curves[name]["attack_curves"] - blended, FINE_NORMS, axis=1)
        for name in scaled
    }
    # Between its points a curve of all may be below one objective's own.
    attacks = [each["attack_curves"] for each in curves.values()]
    return {**measured, **areas, **or_blended(FINE_NORMS, np.max(attacks, axis=0), blended)}


def _each_with_smaller(scorer, ends, found):
    """Dict of name to records, each with those of the same attacks made smaller."""
    return {
        name: _together([records, distortion.scaled_down(scorer, *ends, records)])
        for name, records in found.items()
    }


def _together(records):
    """Records of several attacks on the same pairs as one, with the fields that all have."""
    records = list(records)
    names = set.intersection(*map(set, records))
    return {name: np.concatenate([each[name] for each in records]) for name in names}


def or_blended(norms, attacked, blended):
    """What an attacker has who may mix the target in instead: curves and their areas by pair.

    Args:
        norms: (K,) relative norms.
        attacked: (P, K) shares of the gap closed by attacks.
        blended: (P, K) by mixing the target in.
    """
    best = np.maximum(attacked, blended)
    areas = {
        name: np.trapezoid(values, norms, axis=1)
        for name, values in (("attack_area", best), ("blending_area", blended))
    }
    return {
        **areas,
        "curve_norms": norms,
        "attack_curves": best,
        "blending_curves": blended,
        "area_above_blending": areas["attack_area"] - areas["blending_area"],
        "norm_to_half": np.array([distortion.norm_to_close((norms, curve)) for curve in best]),
    }


def _attacked(model, run, config, ends, chosen, weights, **options):
    """A battery worked off: (battery, its records).

    `chosen` says how the pairs in `ends` were chosen, so that other pairs are another battery.
    """
    described = {**config, "data": {**config["data"], **chosen}}
    own = {"draws": 1} if options["ancestors"] == "fresh" else {}
    options = {**presets.USUAL_ATTACK, **own, "seed": SEED, **options}
    battery = batteries.open_battery(run, described, model, ends, weights, options)
    records = battery.run(lambda _: None)
    return battery, records


def _fired(battery, records, blending):
    """The names of the diagnostics that fired."""
    diagnoses = battery.diagnose(records, distortion.areas(records, blending))
    return {diagnosis.name for diagnosis in diagnoses if diagnosis.fired}


def hearts(pairs):
    """Pairs of a large heart in the middle that differ in rotation: two (P, 64, 64, 1)."""
    rng = np.random.default_rng(SEED)
    turns = np.stack([rng.choice(39, 2, replace=False) for _ in range(pairs)], axis=1)
    heart = [sprites.SHAPES.index("heart"), 5]
    rendered = (
        sprites.render(sprites.index(np.array([[*heart, turn, 16, 16] for turn in side])))
        for side in turns
    )
    return tuple(datasets.scale(each).numpy().reshape(pairs, 64, 64, 1) for each in rendered)


def _curves(records, blending, has_gap, norms=batteries.DRAWN_NORMS):
    """Distortion curves of all pairs, NaN for those without a gap; has_gap: (P,) bool."""
    curves = np.full((2, len(blending), len(norms)), np.nan)
    curves[:, has_gap] = distortion.curves(records, blending, norms)
    return {
        "curve_norms": norms,
        "attack_curves": curves[0],
        "blending_curves": curves[1],
    }


def _slopes(model, records, images):
    """The largest shift of each pair's mean reconstruction, relative to the distortion: (P,)."""
    shifts = in_batches(model, records["adversarial"]) - in_batches(model, images)[records["pair"]]
    norms = records["distortion_norm"]
    # Rounding moves reconstructions, too.
    slopes = np.divide(l2_norms(shifts), norms, out=np.zeros_like(norms), where=norms > LEAST_NORM)
    return np.array([np.max(slopes[records["pair"] == pair]) for pair in range(len(images))])


def _panel(model, records, images, targets):
    """Of the first pairs, the attack that closes most for a distortion of half the distance."""
    relative = distortion.relative_norms(records)
    chosen = distortion.strongest_within(records, 0.5)[:3]
    adversarial = records["adversarial"][chosen]
    shown = slice(len(chosen))
    return {
        "panel_images": images[shown],
        "panel_reconstructions": model(images[shown]).numpy(),
        "panel_adversarial": adversarial,
        "panel_adversarial_reconstructions": model(adversarial).numpy(),
        "panel_targets": targets[shown],
        "panel_target_reconstructions": model(targets[shown]).numpy(),
        "panel_shares": records["closed_share"][chosen],
        "panel_norms": relative[chosen],
    }
