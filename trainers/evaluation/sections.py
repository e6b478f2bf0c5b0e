"""What an evaluation says, in order: rows of numbers with their meaning, checks and pictures.

`found`, below, is what the function in `parts` that measures it returned.
"""

from typing import NamedTuple

import numpy as np

from seatbelt_tf import figures, presets
from seatbelt_tf.evaluation import bootstrap_interval
from seatbelt_tf.figures import charts
from trainers import batteries, splits
from trainers.evaluation import parts
from trainers.evaluation.output import Picture, Row, Section


class Attacked(NamedTuple):
    """A finished battery.

    Attributes:
        battery: an `attacks.battery.Battery`.
        records: its records.
        summary: see `batteries.summarise`.
        diagnoses: list of `Diagnosis`.
        distances: see `parts.battery_distances`.
    """

    battery: object
    records: dict
    summary: dict
    diagnoses: list
    distances: dict


CLEAN = {
    "elbo": "lower bound on log p(x), without penalty or free bits: higher is better",
    "log_likelihood": "how well images are reconstructed from their latents: higher is better",
    "total_correlation": "how much the top layer's units depend on each other; 0 is not at all "
    "(estimated on batches of 200, or of the images there are)",
}
ATTACKS = {
    "area_above_blending": (
        "",
        "what being adversarial buys over simply mixing the target in: at 0 this attack gains "
        "nothing, below 0 it is weaker than that. The number that compares models",
    ),
    "attack_area": ("", "area under the attack's distortion curve, between 0 and 1"),
    "blending_area": ("", "the same when the target is mixed in without any attack"),
    "norm_to_half": (
        "of ‖x_t − x‖₂",
        "distortion, relative to the distance of input and target, that closes half the gap "
        "between their reconstructions: larger is more robust",
    ),
    "closed_share": ("", "share of that gap closed, averaged over all λ: smaller is more robust"),
    "target_loss": (
        "nats",
        "−log p(x_t | z*), averaged over all λ as in the paper: larger is more robust",
    ),
    "floor": ("nats", "the same of the target's own reconstruction, where a full success ends"),
    "ceiling": ("nats", "the same without any attack"),
    "relative_loss": ("", "Δ relative to no distortion at all, averaged over all λ"),
    "loss": (
        "nats",
        "Δ averaged over all λ as in the paper's figures; it changes with layers and units, so it "
        "does not compare models",
    ),
}
DISTANCES = {
    "target_reconstruction": "from the target to its own reconstruction: the model's blur",
    "adversarial_target": "from the attacked input to the target, averaged over all λ",
    "output_target": "from the attacked input's reconstruction to the target, averaged over all λ",
}
TASKS = {
    "mlp_reconstruction": "MLP of reconstructions",
    "conv_reconstruction": "convolutional network of reconstructions",
    "mlp_latents": "MLP of latents",
}


def clean(subject, found):
    """How good the model is without an attack."""
    layers = len(subject.model.latent_dims)
    meanings = {
        **CLEAN,
        **{f"kl_layer_{i}": f"information in layer {i} of {layers}" for i in range(1, layers + 1)},
    }
    rows = [
        Row(name, float(value), unit="nats", meaning=meanings[name])
        for name, value in found.items()
    ]
    images, _ = splits.first(subject.data, "test", parts.SHOWN)
    pictures = [
        Picture(
            "reconstructions",
            figures.reconstructions(images, subject.model(images).numpy(), columns=8),
            "Test images above their reconstructions",
            "Test images and their reconstructions.",
        ),
        Picture(
            "prior_samples",
            figures.image_grid(subject.model.sample(parts.SHOWN).numpy()),
            "Images decoded from latents drawn from the prior",
            "Images that the model makes up: decoded from draws of the prior.",
        ),
    ]
    metrics = {name: np.array(column) for name, column in subject.run.read_metrics().items()}
    if metrics:
        pictures.append(
            Picture(
                "training_curves",
                figures.training_curves(metrics),
                "Training curves: ELBO and its parts against the step",
                "The training, by which to judge whether it had converged.",
            )
        )
    text = "Means over test images. What an attack does must be read beside how good the model is."
    if "mcmc" in subject.model.defences:
        text += (
            " The ELBO and its parts are those of the encoder's posteriors, without the chain at "
            "inference (mcmc); the pictures are reconstructed through it."
        )
    return Section("Clean quality", [text], rows, pictures=pictures)


def attacks(found, blending):
    """All batteries: their curves together, then each one's numbers, checks and panel.

    Args:
        found: list of `Attacked`, on the same pairs.
        blending: see `batteries.blending_shares`.

    Returns:
        List of `Section`.
    """
    records = {one.battery.options["objective"]: one.records for one in found}
    pairs, weights = len(blending), len(found[0].battery.weights)
    pictures = [
        Picture(
            "loss",
            batteries.loss_curves(records),
            "Attack loss against the attack's weight",
            "The attacks' Δ against λ, the price of a distortion. An output attack's may be "
            "below 0, off the foot of the logarithmic axis.",
        ),
    ]
    if "attack_area" in found[0].summary:
        curves = Picture(
            "distortion",
            batteries.distortion_curves(records, blending),
            "Share of the gap closed against the size of the distortion, beside blending",
            "How much of the way to the target's reconstruction a distortion goes, against its "
            "size. Above the blending curve an attack is worth something.",
        )
        pictures.insert(0, curves)
    first = Section(
        "Under attack",
        [
            f"{pairs} pairs of test images, each attacked under {weights} weights λ from 2⁻²⁰ to "
            "2²⁰, which price the distortion against success. Intervals are 95 % by bootstrap "
            "over pairs. A result is an upper bound on how hard the model is to attack.",
        ],
        pictures=pictures,
    )
    return [first, *map(_attack, found)]


def panel_name(one):
    """The name of an attack's panel among the pictures."""
    return f"panel_{one.battery.options['objective']}"


def _attack(one):
    objective, summary = one.battery.options["objective"], one.summary
    rows = [
        Row(name, **summary[name], unit=unit, meaning=meaning)
        for name, (unit, meaning) in ATTACKS.items()
        if name in summary
    ]
    rows += [
        Row(name, **batteries.interval(one.distances[name]), unit="L₂", meaning=meaning)
        for name, meaning in DISTANCES.items()
    ]
    picture = Picture(
        panel_name(one),
        batteries.battery_panel(one.battery, one.records),
        "Inputs, attacked inputs, targets and the reconstructions of each",
        "Three pairs: the strongest attacks that move the input by at most a quarter, half and "
        "three quarters of the way to the target, or the smallest there is. On the left how much "
        "of the gap they close.",
    )
    return Section(f"Attack: {objective}", [], rows, one.diagnoses, [picture], level=3)


def headline(found):
    """What the page says first: a sentence for each attack."""
    sentences = []
    for one in found:
        objective, summary = one.battery.options["objective"], one.summary
        fired = [diagnosis.name for diagnosis in one.diagnoses if diagnosis.fired]
        if "area_above_blending" in summary:
            area, half = summary["area_above_blending"], summary["norm_to_half"]
            interval = (
                "(one pair, so no interval)"
                if area["lower"] is None
                else f"[{area['lower']:.3f}, {area['upper']:.3f}]"
            )
            sentence = (
                f"{objective}: area above blending {area['mean']:.3f} {interval}, where 0 is "
                f"no gain, over the {summary['pairs_with_gap']} of {summary['pairs']} pairs that "
                "have a gap to close; half of the gap is closed by a distortion of "
                f"{half['mean']:.0%} of the way to the target."
            )
        else:
            sentence = (
                f"{objective}: no pair has a gap to close, since targets are reconstructed no "
                "better from their own latents than from the input's."
            )
        checked = f"{len(one.diagnoses)} checks of the attack"
        sentences.append(
            f"{sentence} {len(fired)} of {checked} fired ({', '.join(fired)}): no evidence of "
            "robustness until they are resolved."
            if fired
            else f"{sentence} None of {checked} fired."
        )
    return sentences


def noise(found):
    """How the model sees through noise (appendix F)."""
    rows = []
    for name, values in found.items():
        scale = name.removeprefix("noise_")
        meaning = (
            "from the clean image"
            if scale == "0"
            else f"from the image with Gaussian noise of standard deviation {scale}"
        )
        rows.append(Row(name, *bootstrap_interval(values), unit="nats", meaning=meaning))
    return Section(
        "Noise",
        [
            "log p(x | z) of clean images, z inferred from noisy ones: the less it falls, the "
            "better noise that nobody chose is seen through. Intervals are over images."
        ],
        rows,
    )


def overlap(subject, found):
    """How wide the posteriors are (figure 2)."""
    rows = [
        Row(
            f"stddev_norm_{name}",
            *bootstrap_interval(values),
            meaning=f"‖σ(x)‖₂ of {units} units; √{units} = {np.sqrt(units):.2f} is the width of a "
            "standard normal",
        )
        for (name, values), units in zip(found.items(), subject.model.latent_dims, strict=True)
    ]
    picture = Picture(
        "overlap",
        charts.panels({"": charts.densities(found, xlabel="‖σ(x)‖₂")}),
        "Density over test images of the norm of the posterior's standard deviation, by layer",
        "Density of ‖σ(x)‖₂ over test images.",
    )
    text = (
        "Wide posteriors overlap: a distortion must move an image farther to be taken for another."
    )
    return Section("Overlap of the posteriors", [text], rows, pictures=[picture])


def certificates(found):
    """What no distortion can do, whoever looks for it."""
    rows = []
    for share, tolerance, mean_radius, radii in zip(
        presets.CERTIFIED_SHARES, *found.values(), strict=True
    ):
        within = f"within {tolerance:.3g}, {share:g} times the median distance of two images"
        rows.append(
            Row(
                f"mean_radius_{share:g}",
                float(mean_radius),
                unit="L₂",
                meaning=f"‖d‖₂ up to which every image's mean reconstruction stays {within}",
            )
        )
        rows += [
            Row(
                f"certified_{share:g}_at_{radius:g}",
                *bootstrap_interval(radii >= radius),
                meaning=f"share of images of which reconstructions of samples stay {within}, for "
                f"‖d‖₂ = {radius:g} with probability {presets.CERTIFIED_PROBABILITY:g}",
            )
            for radius in presets.CERTIFIED_RADII
        ]
    text = (
        "Proven from the networks' Lipschitz constants, whatever the distortion: no attack took "
        "part. Not comparable with what attacks found, which is on the other side of the truth."
    )
    return Section("Certificates", [text], rows)


def mutual_information_gap(found):
    """How far each factor of the dataset has a unit of its own."""
    meaning = (
        "mean over factors of the difference between the two most informative units, relative to "
        "the factor's entropy (Locatello et al. 2019): 1 is one unit a factor. The paper finds no "
        "relation to robustness"
    )
    return Section("Disentanglement", [], [Row("mig", float(found["mig"]), meaning=meaning)])


def downstream(found):
    """What an attack does to classifiers behind the model (table 1)."""
    meanings = {
        "clean": "accuracy on all test images",
        "attacked": f"accuracy on the {len(found.rows)} attacked images",
        "drop": "the attacked images' accuracy less their own without the attack",
    }
    rows = [
        Row(f"{task}_{kind}", *value, meaning=f"{TASKS[task]}: {meanings[kind]}")
        for task, kinds in found.accuracies().items()
        for kind, value in kinds.items()
    ]
    norm = bootstrap_interval(found.distortion_norm)
    rows.append(Row("distortion_norm", *norm, unit="L₂", meaning="‖d‖₂ of these attacks"))
    return Section(
        "Downstream classifiers",
        [
            "Classifiers trained on clean reconstructions and latents, tested on images that were "
            "attacked through the model (latent_kl, all layers, λ = 1) towards an image of another "
            "class."
        ],
        rows,
    )
