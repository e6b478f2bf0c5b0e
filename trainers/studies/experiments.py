"""The paper's figures and tables, and the comparison that this project adds, as cells by name.

`reports` makes tables and figures of what was found.
"""

from collections.abc import Callable
from typing import NamedTuple

from trainers.studies import defences, swiss_roll
from trainers.studies.cells import Cell
from trainers.studies.zoo import CLASSIFIED, OBJECTIVES, PARTS


class Experiment(NamedTuple):
    """One figure or table.

    Attributes:
        title: what it shows.
        cells: `zoo.Zoo` -> list of `Cell`; empty when the models are not images'.
        datasets: those of the paper that users can bring, for --scale=paper.
        here: those taken at the other scales.
        files: (`zoo.Zoo`, store) -> dict: the files of what is no cell, and functions without
            arguments that return the arrays of each.
        then: (`zoo.Zoo`, `study.Findings` of the cells) -> further cells, which depend on what
            was found.
        only: the datasets that have what it needs; empty when any images have.
    """

    title: str
    cells: Callable
    datasets: tuple = ("dsprites", "chairs", "faces3d")
    here: tuple = ("sprites",)
    files: Callable = lambda *_: {}
    then: Callable | None = None
    only: tuple = ()

    def takes(self, dataset):
        """Whether it can be made of a dataset, by name."""
        return dataset in self.only if self.only else dataset != "swiss_roll"


def _comparison(zoo):
    return [
        Cell(
            model,
            (
                zoo.clean(),
                zoo.attack(),
                zoo.attack("output"),
                zoo.attack(ancestors="fresh"),
                zoo.losses(),
                zoo.losses(ancestors="fresh"),
            ),
        )
        for seed in zoo.scale.seeds
        for model in zoo.members(seed)
    ]


def _panels(zoo):
    return [Cell(model, (zoo.attack(),)) for model in zoo.single_and_seatbelt()]


def _overlap(zoo):
    models = zoo.overlap_models()
    sweep = [
        zoo.single(beta, penalty=penalty) for beta in zoo.scale.betas for penalty in ("kl", "tc")
    ]
    return [Cell(model, (zoo.overlap(),)) for model in models] + [
        Cell(model, (zoo.clean(),)) for model in dict.fromkeys(sweep)
    ]


def _widths(zoo, *measures):
    return [
        Cell(zoo.single(beta, units=units), measures)
        for beta in zoo.scale.betas
        for units in zoo.dims
    ]


def _grid(zoo, depths, *measures):
    return [Cell(zoo.of(beta, layers), measures) for layers in depths for beta in zoo.scale.betas]


def _ends(zoo):
    """One layer, and as many as the main comparison has."""
    return 1, zoo.scale.depth


def _hearts(zoo):
    return [Cell(model, (zoo.heart_attack(),)) for model in zoo.heart_models()]


def _layers(zoo):
    attacks = (zoo.attack(layers=part) for part in PARTS)
    return _grid(zoo, (zoo.scale.depth,), zoo.clean(), *attacks)


def _downstream(zoo):
    return [
        Cell(model, (zoo.clean(), zoo.downstream()))
        for seed in zoo.scale.seeds
        for model in zoo.single_and_seatbelt(seed)
    ]


def _claims(zoo):
    names = ["comparison", "figure5", "figureD8", "figureF12"]
    names += ["figureE11"] if zoo.dataset in ("sprites", "dsprites") else []
    names += ["table1"] if zoo.has_classes else []
    # Figure F.12 has one seed, its claim all.
    denoising = [
        Cell(zoo.of(beta, depth, seed), (zoo.denoising(),))
        for beta in (1.0, zoo.scale.beta)
        for depth in _ends(zoo)
        for seed in zoo.scale.seeds
    ]
    return [cell for name in names for cell in EXPERIMENTS[name].cells(zoo)] + denoising


EXPERIMENTS = {
    "claims": Experiment(
        "The paper's claims, each held against all of the below",
        _claims,
        ("dsprites", "cifar10"),
        ("sprites", "cifar10"),
    ),
    "comparison": Experiment(
        "Five models of one budget under the same attacks: area above blending and raw losses",
        _comparison,
        here=("sprites", "cifar10"),
    ),
    "defences": Experiment(
        "Defences of one budget, tuned on other pairs than those they are judged by",
        defences.tuning,
        ("dsprites", "cifar10"),
        ("sprites", "cifar10"),
        then=defences.trial,
    ),
    "figure1": Experiment("Attacks on a VAE, a β-TCVAE and a Seatbelt-VAE", _panels, ("celeb_a",)),
    "figure2": Experiment(
        "Width of the posteriors of a VAE, a β-VAE and a β-TCVAE, and their quality against β",
        _overlap,
        ("celeb_a",),
    ),
    "figure3": Experiment(
        "β-TCVAE: loss of the latent attack against β",
        lambda zoo: _widths(zoo, zoo.clean(), zoo.attack()),
    ),
    "figure4": Experiment(
        "Rotating a heart: β-TCVAEs and Seatbelt-VAEs with two layers",
        _hearts,
        ("dsprites",),
        only=("sprites", "dsprites"),
    ),
    "figure5": Experiment(
        "Three attacks on β-TCVAEs and Seatbelt-VAEs against β",
        lambda zoo: _grid(zoo, _ends(zoo), zoo.clean(), *map(zoo.attack, OBJECTIVES)),
        ("chairs", "faces3d"),
    ),
    "figure6": Experiment(
        "ELBO and reconstructions against β and depth",
        lambda zoo: _grid(zoo, zoo.depths, zoo.clean()),
        ("chairs", "faces3d"),
    ),
    "figureA7": Experiment(
        "The Swiss roll: β-VAEs and β-TCVAEs with two latents",
        lambda _: [],
        ("swiss_roll",),
        ("swiss_roll",),
        files=swiss_roll.files,
        only=("swiss_roll",),
    ),
    "figureD8": Experiment(
        "Attacks on the bottom layer, the top layer and all layers",
        _layers,
        ("chairs", "faces3d"),
    ),
    "figureD9": Experiment(
        "Robustness and quality against β and depth",
        lambda zoo: _grid(zoo, zoo.depths, zoo.clean(), zoo.attack()),
        ("chairs", "faces3d"),
    ),
    "figureE10": Experiment(
        "Distances after latent and output attacks on β-TCVAEs against β",
        lambda zoo: _widths(zoo, zoo.clean(), zoo.attack(), zoo.attack("output")),
    ),
    "figureE11": Experiment(
        "Disentanglement (MIG) and the attack's loss",
        lambda zoo: _widths(zoo, zoo.disentanglement(), zoo.attack()),
        ("chairs", "faces3d"),
        only=("sprites", "dsprites", "chairs", "faces3d"),
    ),
    "figureF12": Experiment(
        "Denoising: log p(x | z) of noisy inputs against β",
        lambda zoo: _grid(zoo, _ends(zoo), zoo.denoising()),
        ("chairs",),
    ),
    "table1": Experiment(
        "Classifiers behind attacked models",
        _downstream,
        ("svhn_cropped", "cifar10"),
        ("cifar10",),
        only=CLASSIFIED,
    ),
}
