"""How large a study is: smoke for tests, cpu for two cores, paper for the paper's full setting."""

from typing import NamedTuple

from trainers.studies import defences as trial

FAST = (("preset", "fast"), ("mixed_precision", True))


class Scale(NamedTuple):
    """Sizes of a study.

    Attributes:
        training: flags of trainers.train by dataset; "" is for all others.
        single_dims: units of the models with one layer, by dataset.
        seeds: training seeds of the main comparison; sweeps take the first.
        betas: β of the sweeps; `beta` is the main comparison's.
        beta: see `betas`.
        depths: L of the sweeps; `depth` is the main comparison's.
        depth: see `depths`.
        pairs: pairs of test images attacked.
        weights: number of λ.
        max_evaluations: of one attack.
        images: test images for everything else.
        downstream_images: test images attacked in front of classifiers.
        labelled_images: training and test images of classifiers, at most.
        classifier_steps: training steps of the classifiers.
        swiss_roll_steps: training steps on the Swiss roll.
        defences: settings of the trial of defences.
        tuning_pairs: pairs of validation images that settings are chosen by.
        trial_weights: number of λ there and in the trial, whose attacks are also scaled down.
        trial_training: flags of trainers.train of all models on trial, on top of `training`, by
            dataset.
        restarts: random starts more of the attacks that defences are judged by.
        damage_starts: of the untargeted attack.
    """

    training: dict
    single_dims: dict
    seeds: tuple
    betas: tuple
    beta: float
    depths: tuple
    depth: int
    pairs: int
    weights: int
    max_evaluations: int
    images: int
    downstream_images: int
    labelled_images: int
    classifier_steps: int
    swiss_roll_steps: int
    defences: tuple
    tuning_pairs: int
    trial_weights: int
    trial_training: dict
    restarts: int
    damage_starts: int


SCALES = {
    "smoke": Scale(
        training={"": (*FAST, ("batch_size", 16), ("steps", 20))},
        single_dims={"": (4,)},
        seeds=(0, 1),
        betas=(1.0, 6.0),
        beta=6.0,
        depths=(1, 2),
        depth=2,
        pairs=2,
        weights=3,
        max_evaluations=5,
        images=20,
        downstream_images=10,
        labelled_images=200,
        classifier_steps=20,
        swiss_roll_steps=20,
        defences=trial.FEW,
        tuning_pairs=2,
        trial_weights=3,
        trial_training={},
        restarts=0,
        damage_starts=1,
    ),
    # One layer takes a tenth of the batch's size in units, as the TC estimate needs.
    "cpu": Scale(
        training={
            "": (*FAST, ("batch_size", 160), ("steps", 1600)),
            "cifar10": (*FAST, ("batch_size", 640), ("steps", 500)),
        },
        single_dims={"": (16,), "cifar10": (64,)},
        seeds=(0, 1, 2),
        betas=(1.0, 3.0, 6.0, 10.0),
        beta=6.0,
        depths=(1, 2, 3, 4, 5),
        depth=4,
        pairs=20,
        weights=24,
        max_evaluations=200,
        images=500,
        downstream_images=200,
        labelled_images=20_000,
        classifier_steps=1000,
        swiss_roll_steps=5000,
        defences=trial.SETTINGS,
        tuning_pairs=10,
        trial_weights=12,
        # docs/decisions.md says why.
        trial_training={"sprites": (("image_size", 32),)},
        restarts=1,
        damage_starts=2,
    ),
    "paper": Scale(
        training={"": (("preset", "paper"),)},
        single_dims={"": (4, 8, 16, 32, 64, 128)},
        seeds=(0, 1, 2, 3, 4),
        betas=(1.0, 2.0, 4.0, 6.0, 8.0, 10.0),
        beta=6.0,
        depths=(1, 2, 3, 4, 5),
        depth=4,
        pairs=20,
        weights=50,
        max_evaluations=400,
        images=2000,
        downstream_images=1000,
        labelled_images=100_000,
        classifier_steps=1000,
        swiss_roll_steps=20000,
        defences=trial.SETTINGS,
        tuning_pairs=20,
        trial_weights=24,
        trial_training={},
        restarts=2,
        damage_starts=4,
    ),
}
