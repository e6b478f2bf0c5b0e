"""Attacks on the latents and outputs of VAEs, many at once, inside the pixel box."""

from seatbelt_tf.attacks.attack import Attack, AttackResult, attack, paper_weights
from seatbelt_tf.attacks.ball_ascent import Ascent, maximize_in_ball
from seatbelt_tf.attacks.box_result import Status
from seatbelt_tf.attacks.maximum_damage import Damage, maximum_damage
from seatbelt_tf.attacks.minimize import minimize_in_box
from seatbelt_tf.attacks.scoring import Score, Scorer, score
from seatbelt_tf.attacks.victim import Attackable, Victim

__all__ = [
    "Ascent",
    "Attack",
    "AttackResult",
    "Attackable",
    "Damage",
    "Score",
    "Scorer",
    "Status",
    "Victim",
    "attack",
    "maximize_in_ball",
    "maximum_damage",
    "minimize_in_box",
    "paper_weights",
    "score",
]
