"""How large a study is: smoke for tests, cpu for two cores, paper for the paper's full setting."""

from typing import NamedTuple

from seatbelt_tf import presets
from trainers.studies import defences as trial
from trainers.studies.cells import Measure, Model

OBJECTIVES = ("latent_kl", "output", "latent_w2")
PARTS = ("bottom", "top", "all")
# L2, pixels in [-1, 1].
DAMAGE_RADII = (0.1, 0.5, 1.0, 2.0, 4.0)
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
        tuning_weights: number of λ there.
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
    tuning_weights: int
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
        tuning_weights=3,
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
        tuning_weights=12,
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
        tuning_weights=24,
        restarts=2,
        damage_starts=4,
    ),
}


class Zoo:
    """The models of one study on one dataset, by member, β, depth and seed.

    Args:
        scale: a `Scale`.
        dataset: name.
        data_dir: TFDS data directory, or None.
    """

    def __init__(self, scale, dataset, data_dir):
        self.scale, self.dataset, self.data_dir = scale, dataset, data_dir
        self.training = scale.training.get(dataset, scale.training[""])
        dims = scale.single_dims.get(dataset, scale.single_dims[""])
        self.dims = dims
        # Of several widths the comparison takes the one in the middle.
        self.width = dims[len(dims) // 2]

    @property
    def has_classes(self):
        """Whether an image has one label, for classifiers."""
        return self.dataset in ("cifar10", "svhn_cropped")

    def single(self, beta, seed=0, units=None, penalty="tc", member=None):
        """A VAE (β = 1), β-TCVAE or β-VAE."""
        name = {"tc": "β-TCVAE", "kl": "β-VAE"}[penalty] if beta != 1 else "VAE"
        return self._model(
            member or name,
            seed,
            latent_dims=str(units or self.width),
            beta=beta,
            **({"penalty": penalty} if penalty != "tc" else {}),
        )

    def hierarchical(self, beta, layers=None, seed=0, likelihood_from="all"):
        """A hierarchical VAE (β = 1), Seatbelt-VAE, or TC-penalised DLGM ("bottom")."""
        name = "hierarchical VAE" if beta == 1 else "Seatbelt-VAE"
        if likelihood_from == "bottom":
            name = "TC-penalised DLGM"
        return self._model(
            name,
            seed,
            layers=layers or self.scale.depth,
            beta=beta,
            **({"likelihood_from": likelihood_from} if likelihood_from != "all" else {}),
        )

    def of(self, beta, layers, seed=0):
        """The model of a β × L sweep; one layer is a β-TCVAE."""
        if layers == 1:
            return self.single(beta, seed)
        return self.hierarchical(beta, layers, seed)

    def members(self, seed):
        """The five models of the main comparison."""
        beta = self.scale.beta
        return (
            self.single(1.0, seed),
            self.single(beta, seed),
            self.hierarchical(1.0, seed=seed),
            self.hierarchical(beta, seed=seed, likelihood_from="bottom"),
            self.hierarchical(beta, seed=seed),
        )

    def overlap_models(self):
        """Of figure 2, left: a VAE, and a β-VAE and a β-TCVAE with the greatest β."""
        beta = max(self.scale.betas)
        return (self.single(1.0), self.single(beta, penalty="kl"), self.single(beta))

    def heart_models(self):
        """Of figure 4: β-TCVAEs and Seatbelt-VAEs with two layers, β of 1 and 2."""
        return [
            model
            for beta in (1.0, 2.0)
            for model in (self.single(beta), self.hierarchical(beta, 2))
        ]

    def downstream_models(self, seed):
        """Of table 1: VAE, β-TCVAE and Seatbelt-VAE."""
        beta = self.scale.beta
        return (
            self.single(1.0, seed),
            self.single(beta, seed),
            self.hierarchical(beta, seed=seed),
        )

    def defended(self, setting, seed):
        """The model of a `defences.Setting`."""
        plain = self.of(setting.beta, self.scale.depth if setting.is_deep else 1, seed)
        options = tuple(sorted({**dict(plain.options), **dict(setting.flags)}.items()))
        # Without flags it is a model of the comparison, which is not trained again.
        member = setting.defence if setting.flags else plain.member
        return plain._replace(member=member, options=options)

    def tuning(self, setting):
        """The attacks on validation pairs that a setting is chosen by."""
        scale = self.scale
        sizes = scale.tuning_pairs, scale.tuning_weights, 0
        return self._strongest(setting, "validation", ("latent_kl", "output"), *sizes)

    def strongest(self, setting):
        """The attacks on test pairs that a setting is judged by."""
        scale = self.scale
        sizes = scale.pairs, scale.weights, scale.restarts
        return self._strongest(setting, "test", OBJECTIVES, *sizes)

    def damage(self, setting):
        """The untargeted attack, and certificates where there are any."""
        return Measure(
            "damage",
            (
                ("images", self.scale.pairs),
                ("radii", DAMAGE_RADII),
                ("starts", 1 if setting.is_random else self.scale.damage_starts),
                ("steps", 20 if setting.is_random else 100),
                ("ancestors", "sample" if setting.is_random else "mean"),
            ),
        )

    def samples(self):
        """Images from the prior."""
        return Measure("samples", (("count", 12),))

    def _strongest(self, setting, split, objectives, pairs, weights, restarts):
        share = 4 if setting.is_random else 1
        return Measure(
            "strongest",
            (
                ("split", split),
                ("objectives", objectives),
                ("ancestors", "sample" if setting.is_random else "mean"),
                ("pairs", pairs),
                ("weights", max(2, weights // share)),
                ("max_evaluations", max(2, self.scale.max_evaluations // share)),
                ("restarts", 0 if setting.is_random else restarts),
                ("images", self.scale.images),
            ),
        )

    def clean(self):
        """The measure of clean quality."""
        return Measure("clean", (("images", self.scale.images),))

    def overlap(self):
        """The measure of figure 2."""
        return Measure("overlap", (("images", self.scale.images),))

    def disentanglement(self):
        """The measure of figure E.11."""
        return Measure("disentanglement", (("images", self.scale.images),))

    def denoising(self):
        """The measure of appendix F."""
        scales = ("scales", presets.NOISE_SCALES)
        return Measure("denoising", (("images", self.scale.images), scales))

    def downstream(self, radii=()):
        """The measure of table 1; with radii also attacks that see the classifiers."""
        scale = self.scale
        return Measure(
            "downstream",
            (
                ("attacked", scale.downstream_images),
                ("labelled", scale.labelled_images),
                ("steps", scale.classifier_steps),
                *((("radii", tuple(radii)),) if radii else ()),
            ),
        )

    def heart_attack(self):
        """The battery of figure 4."""
        battery = self.attack()
        return battery._replace(options=(*battery.options, ("hearts_only", True)))

    def attack(self, objective="latent_kl", layers="all", ancestors="mean"):
        """The battery of this scale."""
        scale = self.scale
        return Measure(
            "attack",
            (
                ("objective", objective),
                ("layers", layers),
                ("ancestors", ancestors),
                ("pairs", scale.pairs),
                ("weights", scale.weights),
                ("max_evaluations", scale.max_evaluations),
            ),
        )

    def losses(self, ancestors="mean"):
        """Δ of every latent attack of the same battery."""
        return self.attack(ancestors=ancestors)._replace(name="losses")

    def _model(self, member, seed, **options):
        options = tuple(sorted({**dict(self.training), **options}.items()))
        return Model(member, self.dataset, options, seed, self.data_dir)
