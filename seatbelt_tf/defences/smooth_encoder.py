"""Posteriors that perturbed inputs do not move (Cemgil et al., ICLR 2020, "Smooth Encoders")."""

from seatbelt_tf import ball, replicas
from seatbelt_tf.defences import perturbations
from seatbelt_tf.defences.base import Defence, image_noise, register


@register("smooth_encoder")
class SmoothEncoder(Defence):
    """loss += weight · mean of Σ_i KL(q(z^i | x + d) ‖ q(z^i | x)), nats.

    d, in the L2 ball and the pixel box, raises that same divergence by a few projected-gradient
    steps. Cemgil et al. couple the two posteriors by entropic transport; the KL is what the latent
    attack brings down, and is measured in the ELBO's own units. Ancestors are at their means.
    """

    radius: float
    steps: int
    weight: float

    def loss(self, model, images, loss, noise, key):
        """See `Defence.loss`."""
        del noise
        goal = perturbations.goal("divergence", model, images)
        start = image_noise(images, key)
        attacked = images + ball.ascend(goal, images, self.radius, self.steps, start)
        moved = perturbations.divergence(
            perturbations.encoded(model, attacked), perturbations.encoded(model, images)
        )
        return loss + self.weight * replicas.global_mean(moved) / replicas.count()
