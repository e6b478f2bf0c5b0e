"""What a defence may change of a model."""

import tensorflow as tf

from seatbelt_tf import checks, replicas

_DEFENCES: dict[str, type] = {}


def register(name):
    """Class decorator: makes a defence available under a name."""

    def add(defence):
        _DEFENCES[name] = defence
        return defence

    return add


def find(name):
    """The class of that name; ValueError names the nearest."""
    return _DEFENCES[checks.one_of("defence", name, _DEFENCES)]


class Defence:
    """A defence that does nothing; each overrides what it changes.

    Args:
        **options: see `settings`; each becomes an attribute.
    """

    def __init__(self, **options):
        self.__dict__.update(options)

    def networks(self, model, found):
        """Where the model takes encoder, decoder, MLPs and heads from: a module, or the like."""
        del model
        return found

    def build(self, model):
        """Adds variables to the model."""

    def adapt(self, model, images):
        """Takes what it needs from training images, before training: (N, H, W, C)."""

    def is_adapted(self):
        """Whether `adapt` was called, or need not be."""
        return True

    def shown(self, images, key):
        """What the encoder sees in training: (M, H, W, C) and a (2,) seed -> the same shape."""
        del key
        return images

    def posterior(self, posterior):
        """A layer's posterior from what its head gives: `Gaussian` -> the same."""
        return posterior

    def embedding(self, means):
        """What other systems read of the means by layer: tuple of (M, d_i) -> the same."""
        return means

    def scale(self, scale):
        """The standard deviation of p(x | z), from the model's own: () -> ()."""
        return scale

    def loss(self, model, images, loss, noise, key):
        """The loss with the defence's own term, summed over replicas like the rest: () -> ()."""
        del model, images, noise, key
        return loss

    def inferred(self, model, images, inference, noise):
        """Posteriors and latents at inference, from the encoder's: `Inference` -> the same."""
        del model, images, noise
        return inference


def image_noise(images, key):
    """Standard normal draws like the images, the same however many replicas there are."""
    units = images.shape[1:].num_elements()
    noise = replicas.normal_noise(tf.shape(images)[0], units, key)
    return tf.reshape(noise, tf.shape(images))
