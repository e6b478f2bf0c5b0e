"""How far images end from the target: the L₂ distances of appendix E, figure E.10."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from seatbelt_tf import checks
from seatbelt_tf.batches import in_batches, l2_norms


class Distances(NamedTuple):
    """L₂ distances over all pixels and channels in [-1, 1]; every field is (B,), NumPy.

    Attributes:
        target_reconstruction: ‖x_t − x̂_t‖₂, the target to its own reconstruction: how much of an
            attack's failure is the model's blur ("target-recon distance").
        adversarial_target: ‖x* − x_t‖₂, the attacked input to the target, as figure E.10's caption
            has it ("adversarial-target distance").
        output_target: ‖x̂* − x_t‖₂, the attacked input's reconstruction to the target, as section
            5.1 describes the same figure ("target images and adversarial outputs").
    """

    target_reconstruction: np.ndarray
    adversarial_target: np.ndarray
    output_target: np.ndarray


def distances(reconstruct: Callable, adversarial: ArrayLike, targets: ArrayLike) -> Distances:
    """The distances of attacked images from their targets.

    Args:
        reconstruct: (M, H, W, C) images -> mean reconstructions, such as a `SeatbeltVAE`.
        adversarial: (B, H, W, C) attacked images x* = x + d.
        targets: (B, H, W, C) targets x_t.

    Returns:
        `Distances`.

    Raises:
        ValueError: the two are not of one shape (B, H, W, C).
    """
    adversarial, targets = (np.asarray(array, np.float32) for array in (adversarial, targets))
    if adversarial.ndim != 4 or adversarial.shape != targets.shape:
        raise checks.invalid(
            "adversarial.shape", f"(B, H, W, C), as targets {targets.shape}", adversarial.shape
        )
    return Distances(
        l2_norms(targets - in_batches(reconstruct, targets)),
        l2_norms(adversarial - targets),
        l2_norms(in_batches(reconstruct, adversarial) - targets),
    )
