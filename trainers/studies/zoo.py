"""The models of a study, and what may be measured of them, as cells name them."""

from seatbelt_tf import datasets, presets
from trainers.recipes import RECIPES, sizes_of
from trainers.studies.cells import Measure, Model

OBJECTIVES = ("latent_kl", "output", "latent_w2")
PARTS = ("bottom", "top", "all")
# Datasets whose images have one label each.
CLASSIFIED = ("svhn_cropped", "cifar10")
# L2, pixels in [-1, 1].
DAMAGE_RADII = (0.1, 0.5, 1.0, 2.0, 4.0)


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
        return self.dataset in CLASSIFIED

    @property
    def depths(self):
        """L of the sweeps: those that there are sizes for."""
        is_named = self.dataset in presets.PRESETS
        channels = None if is_named else datasets.info(self.dataset, self.data_dir).shape[2]
        deepest = len(presets.PRESETS[sizes_of(self.dataset, channels)].latent_dims)
        return tuple(depth for depth in self.scale.depths if depth <= deepest)

    def single(self, beta, seed=0, units=None, penalty="tc"):
        """A VAE (β = 1), β-TCVAE or β-VAE."""
        return self._model(
            presets.member((1,), penalty, beta),
            seed,
            latent_dims=str(units or self.width),
            beta=beta,
            **({"penalty": penalty} if penalty != "tc" else {}),
        )

    def hierarchical(self, beta, layers=None, seed=0, likelihood_from="all"):
        """A hierarchical VAE (β = 1), Seatbelt-VAE, or TC-penalised DLGM ("bottom")."""
        layers = layers or self.scale.depth
        return self._model(
            presets.member(range(layers), "tc", beta, likelihood_from),
            seed,
            layers=layers,
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

    def single_and_seatbelt(self, seed=0):
        """Of figure 1 and table 1: VAE, β-TCVAE and Seatbelt-VAE."""
        beta = self.scale.beta
        return (
            self.single(1.0, seed),
            self.single(beta, seed),
            self.hierarchical(beta, seed=seed),
        )

    def defended(self, setting, seed):
        """The model of a `defences.Setting`."""
        plain = self.of(setting.beta, self.scale.depth if setting.is_deep else 1, seed)
        scaled = self.scale.trial_training.get(self.dataset, ())
        options = {**dict(plain.options), **dict(scaled), **dict(setting.flags)}
        if setting.units > 1:
            options["latent_dims"] = str(setting.units * self.width)
        if setting.longer > 1:
            length = "steps" if "steps" in options else "epochs"
            usual = options.get(length, RECIPES[options["preset"]].epochs)
            options[length] = setting.longer * usual
        options = tuple(sorted(options.items()))
        # What is a model of the comparison is not trained again.
        member = plain.member if options == plain.options else setting.defence
        return plain._replace(member=member, options=options)

    def tuning(self, setting):
        """The attacks on validation pairs that a setting is chosen by."""
        pairs = self.scale.tuning_pairs
        return self._strongest(
            setting,
            "validation",
            ("latent_kl", "output"),
            pairs=pairs,
            attacked=self._fewer(setting, pairs),
        )

    def strongest(self, setting):
        """The attacks on test pairs that a setting is judged by."""
        pairs, restarts = self.scale.pairs, 0 if setting.is_random else self.scale.restarts
        return self._strongest(
            setting,
            "test",
            OBJECTIVES,
            pairs=pairs,
            attacked=pairs,
            restarts=restarts,
            transferred=setting.is_random,
        )

    def damage(self, setting):
        """The untargeted attack."""
        return Measure(
            "damage",
            (
                ("images", self.scale.pairs),
                ("attacked", self._fewer(setting, self.scale.pairs)),
                ("radii", DAMAGE_RADII),
                ("starts", self.scale.damage_starts),
                ("steps", 100),
                ("ancestors", "sample" if setting.is_random else "mean"),
            ),
        )

    def certificates(self):
        """What is proven of the models with "lipschitz", and whether attacks agree."""
        return Measure(
            "certificates",
            (
                ("images", self.scale.images),
                ("radii", presets.CERTIFIED_RADII),
                ("shares", presets.CERTIFIED_SHARES),
                ("probability", presets.CERTIFIED_PROBABILITY),
                ("pairs", self.scale.pairs),
                ("starts", self.scale.damage_starts),
                ("steps", 100),
            ),
        )

    def projection(self):
        """How much of the models with "pca" is principal components alone."""
        return Measure("projection", (("images", self.scale.images),))

    def samples(self):
        """Images from the prior."""
        return Measure("samples", (("count", 12),))

    def _fewer(self, setting, images):
        """How many are attacked where few will do: gradients through a chain take long."""
        return max(1, images // 4) if setting.is_random else images

    def _strongest(
        self, setting, split, objectives, *, pairs, attacked, restarts=0, transferred=False
    ):
        evaluations = self.scale.max_evaluations
        return Measure(
            "strongest",
            (
                ("split", split),
                ("objectives", objectives),
                ("ancestors", "sample" if setting.is_random else "mean"),
                ("pairs", pairs),
                ("attacked", attacked),
                ("weights", self.scale.trial_weights),
                ("max_evaluations", evaluations // 2 if setting.is_random else evaluations),
                ("restarts", restarts),
                ("images", self.scale.images),
                *((("transferred", True),) if transferred else ()),
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
