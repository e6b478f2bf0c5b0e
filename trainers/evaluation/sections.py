"""What an evaluation says beside its attacks: rows of numbers, what they mean, and pictures.

`found`, below, is what the function in `parts` that measures it returned.
"""

import numpy as np

from seatbelt_tf import figures, presets
from seatbelt_tf.evaluation import bootstrap_interval
from seatbelt_tf.figures import charts
from trainers import splits
from trainers.evaluation import parts
from trainers.evaluation.output import Picture, Row, Section

CLEAN = {
    "elbo": "lower bound on log p(x), without penalty or free bits: higher is better",
    "log_likelihood": "how well images are reconstructed from their latents: higher is better",
    "total_correlation": "how much the top layer's units depend on each other; 0 is not at all "
    "(estimated on batches of 200, or of the images there are)",
}
TASKS = {
    "mlp_reconstruction": "MLP of reconstructions",
    "conv_reconstruction": "convolutional network of reconstructions",
    "mlp_latents": "MLP of latents",
}


def facts(model, config):
    """What a model is, text by text; `config` is its run's."""
    options = ("beta", "penalty", "likelihood_from", "inference", "likelihood_scale", "free_bits")
    defences = [f"{name} ({_listed(each)})" for name, each in model.defences.items()]
    return {
        "member of the family": presets.member(
            model.latent_dims, model.penalty, model.beta, model.likelihood_from
        ),
        "defences": ", ".join(defences) or "none",
        "dataset": config["data"]["name"],
        "image shape": " × ".join(map(str, model.image_shape)),
        "latent units by layer, bottom first": ", ".join(map(str, model.latent_dims)),
        **{name: str(getattr(model, name)) for name in options},
        "training": _listed(config.get("training", {})),
    }


def _listed(options):
    return ", ".join(f"{name} {value}" for name, value in options.items())


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
