"""Images with noise shown to the encoder, clean ones to be reconstructed (Im et al. 2017)."""

import tensorflow as tf

from seatbelt_tf.defences.base import Defence, image_noise, register


@register("input_noise")
class InputNoise(Defence):
    """Normal(0, noise²) on every pixel of what the encoder sees in training, kept in [-1, 1]."""

    noise: float

    def shown(self, images, key):
        """See `Defence.shown`."""
        return tf.clip_by_value(images + self.noise * image_noise(images, key), -1.0, 1.0)
