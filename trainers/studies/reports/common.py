"""What the reports share: labels, and small pieces of tables and figures."""

import math

import numpy as np

from seatbelt_tf import figures
from seatbelt_tf.figures import charts
from trainers import batteries
from trainers.studies.study import interval
from trainers.studies.tables import number

ERROR = "squared error / plain VAE's"
# Δ is in nats, or a distance for W2.
AREA, LOSS = "area above blending", "Δ averaged over λ"
TARGET = "−log p(target | z*) (nats)"
# Latent attacks end at 0 here and there.
LEAST_LOSS = 1e-12
MEASURES = {"target_loss": TARGET, "loss": LOSS, "area_above_blending": AREA}


def log_mean(losses):
    """ln of the mean over λ, (..., W) -> (...): the largest λ decide it."""
    return np.log(np.maximum(np.mean(losses, axis=-1), LEAST_LOSS))


def mean_log(losses):
    """Mean of ln Δ over the last axis, (..., n) -> (...): every attack counts alike."""
    return np.mean(np.log(np.maximum(losses, LEAST_LOSS)), axis=-1)


def training_curves(findings, zoo, by_label):
    """ELBO while training, one line a label, of its first finished model."""
    curves, steps = {}, None
    for label, models in by_label.items():
        for found in findings.finished(models, zoo.clean())[:1]:
            if steps is None or len(found["training_step"]) == len(steps):
                steps = found["training_step"]
                # The first fifth is far below everything that follows.
                curves[label] = np.where(steps > 0.2 * steps[-1], found["training_elbo"], np.nan)
    if not curves:
        return None
    return charts.panels(
        {"training, penalty not counted": charts.lines(steps, curves, xlabel="step", ylabel="ELBO")}
    )


def area(findings, zoo, models):
    """Mean area above blending of the finished models, as tables have it."""
    return number(interval(findings.over_seeds(models, zoo.attack(), "area_above_blending"))[0])


def fired(findings, models, measure, more=()):
    """The diagnostics that fired for any of the models, and `more` names, as words."""
    found = findings.finished(models, measure)
    names = {str(name) for arrays in found for name in arrays["fired"]}.union(more)
    return ", ".join(sorted(names)) or "none"


def value(found, name):
    """A number of a measure, NaN where it is not finished."""
    return math.nan if found is None else float(found[name])


def mean(found, name):
    """The mean of a number over several findings, as words."""
    return number(float(np.mean([values[name] for values in found])), 4) if found else "—"


def panel(found, title):
    """The paper's figure 1 from what `measures.attack` stored."""
    names = ("images", "reconstructions", "adversarial", "adversarial_reconstructions")
    arrays = [found[f"panel_{name}"] for name in (*names, "targets", "target_reconstructions")]
    labels = batteries.panel_labels(found["panel_shares"], found["panel_norms"])
    return figures.attack_panel(*arrays, labels=labels, title=title)
