"""What is measured of a trained model: every function returns a dict of arrays, to be stored.

All take (model, run, config), the rest is what a `cells.Measure` names. Test images are chosen by
fixed seeds, so that every model is measured on the same ones.
"""

import functools

import numpy as np
import tensorflow as tf
from scipy import stats

from seatbelt_tf import datasets
from seatbelt_tf.attacks import maximum_damage
from seatbelt_tf.batches import in_batches
from seatbelt_tf.datasets import sprites
from seatbelt_tf.defences import lipschitz, pca
from seatbelt_tf.evaluation import disentanglement as mig
from seatbelt_tf.evaluation import distortion, noise, robustness
from seatbelt_tf.evaluation import downstream as classifiers
from trainers import batteries, splits, training

FINE_NORMS = np.linspace(0.0, 1.0, 401)
SEED = 0
SHOWN = 12
# Pairs of samples that a certificate of samples is tried by.
SAMPLES = 200
LEAST_NORM = 0.01


def clean(model, run, config, images):
    """Mean ELBO and its parts, mean squared error of the reconstruction, and what training took."""
    test, _ = splits.first(config["data"], "test", images)
    batches = tf.data.Dataset.from_tensor_slices(test).batch(splits.BATCH)
    found = training.validate(model, batches)
    rebuilt = in_batches(model, test)
    found["squared_error"] = np.mean(_squared_errors(rebuilt, test))
    metrics = run.read_metrics()
    return {
        **found,
        "training_step": metrics["step"],
        "training_elbo": metrics["elbo"],
        "training_images": config["training"]["steps"] * config["training"]["batch_size"],
        "images": test[:SHOWN],
        "reconstructions": rebuilt[:SHOWN],
    }


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
        "fired": np.array(sorted(_fired(battery, records)), str),
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
    the attacks on it.
    """
    ends = [side[:attacked] for side in batteries.pairs(config["data"], pairs, SEED, split)]
    chosen = {"split": split, **({"chosen_of": pairs} if attacked < pairs else {})}
    found, scaled, fired, beside = {}, {}, set(), {}
    for objective in objectives:
        battery, found[objective] = _attacked(
            model, run, config, ends, chosen, weights, objective=objective, **options
        )
        fired |= _fired(battery, found[objective])
        scaled[objective] = _with_smaller(battery.scorer, ends, found[objective])
    if transferred:
        plain, apart = model.surrogate(), {**chosen, "without_chain": True}
        smooth = {**options, "ancestors": "mean"}
        through, plain_found, plain_scaled = [], {}, {}
        for objective in objectives:
            plain_battery, records = _attacked(
                plain, run, config, ends, apart, weights, objective=objective, **smooth
            )
            plain_found[objective] = records
            plain_scaled[objective] = _with_smaller(plain_battery.scorer, ends, records)
            attacked_ends = [side[records["pair"]] for side in ends]
            score = battery.scorer(*attacked_ends, records["adversarial"])
            through.append(_with_smaller(battery.scorer, ends, {**records, **score._asdict()}))
        scaled["transferred"] = _together(through)
        judged = _judged(plain_battery, plain_found, plain_scaled)
        beside["area_without_chain"] = judged["area_above_blending"]
    clean_images, _ = splits.first(config["data"], split, images)
    return {
        **_judged(battery, found, scaled),
        **beside,
        "slope": _slopes(model, _together(found.values()), ends[0]),
        "squared_error": _squared_errors(in_batches(model, clean_images), clean_images),
        "fired": np.array(sorted(fired), str),
    }


def _judged(battery, found, scaled):
    """What several batteries on the same pairs close together, and each alone, by pair.

    Args:
        battery: one of them.
        found: dict of name to records.
        scaled: the same with smaller attacks, and whatever else counts.
    """
    # The same for all: their pairs and the draws that score them are.
    blending = batteries.blending_shares(battery)
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


def _with_smaller(scorer, ends, records):
    """Records and those of the same attacks made smaller."""
    return _together([records, distortion.scaled_down(scorer, *ends, records)])


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
    draws = 1 if options["ancestors"] == "fresh" else 4
    options = {"layers": "all", "draws": draws, "restarts": 0, "seed": SEED, **options}
    battery = batteries.open_battery(run, described, model, ends, weights, options)
    records = battery.run(lambda _: None)
    return battery, records


def _fired(battery, records):
    """The names of the diagnostics that fired."""
    return {diagnosis.name for diagnosis in battery.diagnose(records) if diagnosis.fired}


def damage(model, _run, config, images, attacked, radii, starts, steps, ancestors):
    """How far an untargeted attack moves reconstructions: (A, M) for the radii.

    `attacked` of the `images` are attacked, the first. "typical" is the median distance of two
    reconstructions of the model: one that blurs moves less.
    """
    ends, others = batteries.pairs(config["data"], images, SEED)
    options = {"ancestors": ancestors, "starts": starts, "steps": steps}
    found = [maximum_damage(model, ends[:attacked], radius, **options) for radius in radii]
    apart = in_batches(model, ends) - in_batches(model, others)
    return {
        "radii": radii,
        "damage": np.stack([each.damage for each in found]),
        "typical": np.median(_norms(apart)),
    }


def certificates(model, _run, config, images, radii, shares, probability, pairs, starts, steps):
    """What is proven of a model with the defence "lipschitz", and whether attacks agree.

    The tolerances, (T,), are `shares` of the median distance of two images. "certified", (T, A, M),
    tells of every test image and radius whether reconstructions of samples are proven to stay
    within the tolerance with the probability; "mean_radius", (T,), is that of all mean
    reconstructions. The first of `pairs` images are attacked as by `damage`: "mean_violations"
    counts the attacks, A × P, that moved a mean reconstruction further than proven;
    "sample_violations" those after which more of 200 pairs of samples were further apart than the
    probability allows (by a binomial test at 0.1 %), of the "sample_checks" that a proof covers.
    """
    test, _ = splits.first(config["data"], "test", images)
    ends, others = batteries.pairs(config["data"], pairs, SEED)
    tolerances = np.array(shares) * float(np.median(_norms(ends - others)))
    proven = [lipschitz.certificate(model, test, each, probability) for each in tolerances]
    own = [lipschitz.certificate(model, ends, each, probability) for each in tolerances]
    found = {
        "tolerances": tolerances,
        "radii": np.array(radii),
        "mean_radius": np.array([each.mean_radius for each in proven]),
        "certified": np.stack([np.array(radii)[:, None] <= each.sample_radius for each in proven]),
    }
    slope = tolerances[0] / proven[0].mean_radius
    allowed = stats.binom.ppf(0.999, SAMPLES, 1 - probability)
    mean_violations = sample_violations = sample_checks = 0
    for radius in radii:
        attacked = maximum_damage(model, ends, radius, starts=starts, steps=steps)
        mean_violations += np.sum(attacked.damage > slope * attacked.distortion_norm)
        apart = _sample_distances(model, ends, attacked.adversarial)
        for tolerance, certified in zip(tolerances, own, strict=True):
            covered = attacked.distortion_norm <= certified.sample_radius
            beyond = np.sum(apart > tolerance, axis=0)
            sample_violations += np.sum(beyond[covered] > allowed)
            sample_checks += np.sum(covered)
    return {
        **found,
        "bound": slope,
        "mean_violations": mean_violations,
        "sample_violations": sample_violations,
        "sample_checks": sample_checks,
    }


def _sample_distances(model, images, attacked):
    """Distances of reconstructions of independent samples, `SAMPLES` for each image: (S, M)."""
    rebuilt = [
        in_batches(
            lambda rows, seed=seed: model.decode(model.infer(rows, seed).samples),
            np.repeat(side, SAMPLES, axis=0),
            # Draws are the same in every call: those of an image are all in one.
            size=SAMPLES,
        )
        for seed, side in enumerate((images, attacked))
    ]
    return _norms(np.subtract(*rebuilt)).reshape(len(images), SAMPLES).T


def projection(model, _run, config, images):
    """How much of a model with the defence "pca" is principal components alone, by image: (M,).

    "projection_error" and "squared_error" are of their image and of the model's reconstruction;
    "network_norm" is the distance between the two, what the decoder's network adds.
    """
    test, _ = splits.first(config["data"], "test", images)
    alone = in_batches(functools.partial(pca.projected, model), test)
    rebuilt = in_batches(model, test)
    return {
        "projection_error": _squared_errors(alone, test),
        "squared_error": _squared_errors(rebuilt, test),
        "network_norm": _norms(rebuilt - alone),
    }


def samples(model, _run, _config, count):
    """Images decoded from draws of the prior."""
    return {"samples": model.sample(count, seed=SEED).numpy()}


def denoising(model, _run, config, images, scales):
    """log p(x | z), z ~ q(z | x + aε), of every image: (A, M) for the scales a."""
    test, _ = splits.first(config["data"], "test", images)
    values = [noise.noisy_log_likelihood(model, test, scale) for scale in scales]
    return {"scales": scales, "log_likelihood": np.stack(values)}


def overlap(model, _run, config, images):
    """‖σ(x)‖₂ of every image by layer: (M,) each."""
    test, _ = splits.first(config["data"], "test", images)
    norms = noise.stddev_norms(model, test)
    return {f"layer_{layer}": values for layer, values in enumerate(norms)}


def disentanglement(model, _run, config, images):
    """MIG of the posterior means of all layers, from images with their factors."""
    test, factors = splits.first(config["data"], "test", images, with_labels=True)
    latents = in_batches(model.embed, test)
    return {"mig": mig.mutual_information_gap(latents, factors)}


def downstream(model, _run, config, attacked, labelled, steps, radii=()):
    """Which images classifiers get right, unattacked and attacked: `evaluation.downstream`."""
    train = splits.first(config["data"], "train", labelled, with_labels=True)
    found = classifiers.evaluate(
        model,
        train,
        splits.first(config["data"], "test", labelled, with_labels=True),
        attacked=attacked,
        steps=steps,
        radii=radii,
    )
    fields = {"rows": found.rows, "distortion_norm": found.distortion_norm}
    for task in classifiers.TASKS:
        fields[f"clean_{task}"] = found.correct[task]
        fields[f"attacked_{task}"] = found.attacked_correct[task]
        if radii:
            fields[f"end_to_end_{task}"] = found.end_to_end_correct[task]
    return fields


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


def _norms(images):
    """(M, H, W, C) -> (M,)."""
    return np.linalg.norm(np.reshape(images, (len(images), -1)), axis=1)


def _squared_errors(rebuilt, images):
    """Squared L2 distances: -> (M,)."""
    return np.square(_norms(rebuilt - images))


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
    slopes = np.divide(_norms(shifts), norms, out=np.zeros_like(norms), where=norms > LEAST_NORM)
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
        "panel_weights": records["weight"][chosen],
        "panel_shares": records["closed_share"][chosen],
        "panel_norms": relative[chosen],
    }


FUNCTIONS = {
    function.__name__: function
    for function in (
        clean,
        attack,
        losses,
        strongest,
        damage,
        certificates,
        projection,
        samples,
        denoising,
        overlap,
        disentanglement,
        downstream,
    )
}
