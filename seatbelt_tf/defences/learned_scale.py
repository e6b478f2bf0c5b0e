"""The likelihood's standard deviation learned with the rest (Rybkin et al. 2021, σ-VAE)."""

import tensorflow as tf

from seatbelt_tf.defences.base import Defence, register


@register("learned_scale")
class LearnedScale(Defence):
    """One standard deviation of p(x | z) for all pixels: likelihood_scale · exp(s), s learned."""

    def build(self, model):
        """Adds s, which starts at 0."""
        self._logarithm = model.add_weight(
            shape=(), initializer="zeros", dtype="float32", name="log_scale"
        )

    def scale(self, scale):
        """See `Defence.scale`."""
        return scale * tf.exp(tf.convert_to_tensor(self._logarithm))
