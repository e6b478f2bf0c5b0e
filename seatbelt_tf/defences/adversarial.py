"""Training against the attack itself (Madry et al. 2018, for VAEs)."""

from seatbelt_tf import ball
from seatbelt_tf.defences import perturbations
from seatbelt_tf.defences.base import Defence, image_noise, register


@register("adversarial")
class Adversarial(Defence):
    """loss = (1 − weight) · clean loss + weight · the loss of reconstructing x from x + d.

    The second is the whole objective, penalties and all, with posteriors of the attacked images
    and the likelihood of the clean ones; d, in the L2 ball and the pixel box, is found by a few
    projected-gradient steps from a random start: see `perturbations.goal` for what it raises.
    Attacked images are encoded as at inference: batch normalisation takes its moving statistics,
    with which d was found, and learns them from clean images alone.
    """

    radius: float
    steps: int
    weight: float
    attack: str

    def loss(self, model, images, loss, noise, key):
        """See `Defence.loss`."""
        goal = perturbations.goal(self.attack, model, images)
        start = image_noise(images, key)
        attacked = images + ball.ascend(goal, images, self.radius, self.steps, start)
        attacked_loss = model._objective(images, noise, False, attacked).loss
        return (1.0 - self.weight) * loss + self.weight * attacked_loss
