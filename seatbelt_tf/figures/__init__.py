"""Figures from arrays and tables: image sheets, attack panels, training and attack curves.

Nothing here knows a model. Every function takes arrays, returns a `matplotlib.figure.Figure` on an
Agg canvas and leaves pyplot's global state alone, so it runs headless and in any thread;
`save` writes the figure. Images are floating-point arrays in [-1, 1] of shape (M, H, W, C) with
C = 1 or 3; values outside that range are clipped for display only.
"""

from seatbelt_tf.figures.canvas import save
from seatbelt_tf.figures.curves import distortion_curves, weight_curves
from seatbelt_tf.figures.sheets import attack_panel, image_grid, reconstructions, traversals
from seatbelt_tf.figures.training import training_curves

__all__ = [
    "attack_panel",
    "distortion_curves",
    "image_grid",
    "reconstructions",
    "save",
    "training_curves",
    "traversals",
    "weight_curves",
]
