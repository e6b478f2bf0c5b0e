"""What is proven of models, and how far attacks that have no target move reconstructions."""

import numpy as np
from scipy import stats

from seatbelt_tf.attacks import maximum_damage
from seatbelt_tf.batches import in_batches, l2_norms
from seatbelt_tf.defences import lipschitz
from trainers import batteries, splits
from trainers.studies.measures.common import SEED

# Pairs of samples that a certificate of samples is tried by.
SAMPLES = 200


def damage(model, _run, config, images, attacked, radii, starts, steps, ancestors):
    """How far an untargeted attack moves reconstructions: (A, M) for the radii.

    `attacked` of the `images` are attacked, the first. "typical" is the median distance of two
    reconstructions of the model: one that blurs moves less.
    """
    ends, others = batteries.pairs(config["data"], images, SEED)
    options = {"ancestors": ancestors, "starts": starts, "steps": steps}
    found = [maximum_damage(model, ends[:attacked], radius, **options) for radius in radii]
    return {
        "radii": radii,
        "damage": np.stack([each.damage for each in found]),
        "typical": batteries.median_distance([in_batches(model, side) for side in (ends, others)]),
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
    tolerances = np.array(shares) * batteries.median_distance((ends, others))
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
    return l2_norms(np.subtract(*rebuilt)).reshape(len(images), SAMPLES).T
