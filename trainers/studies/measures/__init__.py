"""What is measured of a trained model: every function returns a dict of arrays, to be stored.

All take (model, run, config), the rest is what a `cells.Measure` names. Test images are chosen by
fixed seeds, so that every model is measured on the same ones.
"""

from trainers.studies.measures.attacked import attack, losses, strongest
from trainers.studies.measures.proofs import certificates, damage
from trainers.studies.measures.quality import (
    clean,
    denoising,
    disentanglement,
    downstream,
    overlap,
    projection,
    samples,
)

FUNCTIONS = {
    function.__name__: function
    for function in (
        clean,
        attack,
        losses,
        strongest,
        damage,
        certificates,
        projection,
        samples,
        denoising,
        overlap,
        disentanglement,
        downstream,
    )
}
