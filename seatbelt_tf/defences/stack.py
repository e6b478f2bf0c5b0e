"""All defences of one model together: what the model calls."""

import tensorflow as tf

from seatbelt_tf import networks
from seatbelt_tf.defences import (  # noqa: F401
    adversarial,
    input_noise,
    learned_scale,
    lipschitz,
    mcmc,
    pca,
    smooth_encoder,
    variance_floor,
)
from seatbelt_tf.defences.base import find


class Defences:
    """The defences of one model, one after the other.

    Args:
        options: dict of name to options, see `settings.check`.
    """

    def __init__(self, options):
        self._all = [find(name)(**options[name]) for name in options]

    def networks(self, model):
        """See `Defence.networks`."""
        found = networks
        for defence in self._all:
            found = defence.networks(model, found)
        return found

    def build(self, model):
        """See `Defence.build`."""
        for defence in self._all:
            defence.build(model)

    def adapt(self, model, images):
        """See `Defence.adapt`."""
        for defence in self._all:
            defence.adapt(model, images)

    def is_adapted(self):
        """See `Defence.is_adapted`."""
        return all(defence.is_adapted() for defence in self._all)

    def posterior(self, posterior):
        """See `Defence.posterior`."""
        for defence in self._all:
            posterior = defence.posterior(posterior)
        return posterior

    def embedding(self, means):
        """See `Defence.embedding`."""
        for defence in self._all:
            means = defence.embedding(means)
        return means

    def scale(self, scale):
        """See `Defence.scale`."""
        for defence in self._all:
            scale = defence.scale(scale)
        return scale

    def training_terms(self, model, images, noise, key):
        """The objective's terms in training, with the defences' part in the loss.

        Args:
            model: a `SeatbeltVAE`.
            images: (M, H, W, C).
            noise: (M, d_i) standard normal draws by layer.
            key: (2,) seed of the defences' own draws in this step.

        Returns:
            `ObjectiveTerms` of the images as the encoder was shown them.
        """
        keys = tf.unstack(tf.random.experimental.stateless_split(key, 2 * len(self._all) + 1))
        shown = images
        for defence, own in zip(self._all, keys, strict=False):
            shown = defence.shown(shown, own)
        terms = model._objective(images, noise, True, shown)
        loss = terms.loss
        for defence, own in zip(self._all, keys[len(self._all) :], strict=False):
            loss = defence.loss(model, images, loss, noise, own)
        return terms._replace(loss=loss)

    def inferred(self, model, images, inference, noise):
        """See `Defence.inferred`."""
        for defence in self._all:
            inference = defence.inferred(model, images, inference, noise)
        return inference
