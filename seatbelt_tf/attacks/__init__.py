"""Attacks on the latents and outputs of VAEs, many at once, inside the pixel box."""

from seatbelt_tf.attacks.attack import AttackResult, attack, paper_weights
from seatbelt_tf.attacks.box_lbfgs import Status

__all__ = ["AttackResult", "Status", "attack", "paper_weights"]
