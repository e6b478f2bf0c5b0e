"""The flags of trainers.train, and the configuration of a run that they make."""

import math
import os
import re
import sys

from absl import flags

from seatbelt_tf import checks, datasets, presets
from seatbelt_tf.configuration import check_training
from trainers import common_flags, defence_flags, recipes, terminal

FLAGS = flags.FLAGS
# They are the calling program's own, for --help and --resume.
flags.disclaim_key_flags()
# What a resumed run may be told again; everything else comes from its config.json.
_NOT_CONFIGURATION = (
    "run",
    "resume",
    "overwrite",
    "checkpoint_seconds",
    "report",
    "strategy",
    "accumulate",
    "worker_timeout",
    "data_dir",
)


def define():
    """Defines the flags, in the program that calls this."""
    common_flags.define_directory(
        "run",
        "Run directory, as runs/NAME (NAME alone is a directory here). Default: runs/NAME, from "
        "the main options; with --resume also a name in runs/.",
    )
    flags.DEFINE_string("dataset", "sprites", f"One of {', '.join(datasets.names())}, folder:PATH.")
    flags.DEFINE_bool("list_datasets", False, "Describe the datasets and stop.")
    flags.DEFINE_enum(
        "preset",
        None,
        list(recipes.PRESETS),
        "paper: appendix G's batch size and learning rate; fast: ours for two cores; robust_pca: "
        "the dataset's recipe, --beta=1 and --defence=pca with many units; robust_adversarial: the "
        "same with --defence=adversarial and the paper's layers (docs/defences.md). Default: fast "
        "for sprites and folders, paper for the others. Flags given beside it take precedence.",
    )
    flags.DEFINE_list(
        "latent_dims", None, "Units by layer, bottom first. Default: the paper's, or the preset's."
    )
    flags.DEFINE_integer("layers", None, "Number of layers L; the last L of the paper's sizes.")
    flags.DEFINE_float(
        "beta",
        None,
        "Weight of the penalty. Default: 20 for celeb_a, otherwise 6; 1 for robust_….",
    )
    flags.DEFINE_enum("penalty", "tc", presets.PENALTIES, "What beta weighs.")
    flags.DEFINE_enum(
        "likelihood_from", "all", presets.LIKELIHOODS, "Layers that the decoder sees."
    )
    flags.DEFINE_enum("inference", "skip", presets.INFERENCES, "q(z|z,x) or, for chain, q(z|z).")
    flags.DEFINE_enum("kl_estimator", "mixed", presets.KL_ESTIMATORS, "How the KL is estimated.")
    flags.DEFINE_enum("tc_estimator", "mws", presets.TC_ESTIMATORS, "How the TC is estimated.")
    flags.DEFINE_float("free_bits", 0.125, "Nats a unit below the top that the KL may keep.")
    flags.DEFINE_float("likelihood_scale", 0.1, "Standard deviation of p(x|z).")
    defence_flags.define()
    flags.DEFINE_integer("steps", None, "Training steps. Default: from the preset.")
    flags.DEFINE_integer("epochs", None, "Passes over the training images, instead of --steps.")
    flags.DEFINE_integer("batch_size", None, "Images a step. Default: from the preset.")
    flags.DEFINE_float(
        "learning_rate", None, "Adam's, before cosine decay. Default: from the preset."
    )
    flags.DEFINE_integer("image_size", None, "Height and width. Default: the dataset's.")
    common_flags.define_seed()
    common_flags.define_data_dir()
    flags.DEFINE_integer(
        "max_unreadable", 0, "Files of a folder that may be left out as unreadable."
    )
    flags.DEFINE_bool("resume", False, "Continue a run where its last checkpoint is.")
    flags.DEFINE_bool("overwrite", False, "Replace a run in the same place.")
    flags.DEFINE_float("checkpoint_seconds", 60.0, "Seconds of training between checkpoints.")
    flags.DEFINE_bool("mixed_precision", False, "bfloat16 networks; densities stay float32.")
    flags.DEFINE_bool("report", True, "Score, draw and attack the model at the end.")
    flags.DEFINE_bool("xla", False, "Compile the step with XLA: good on a GPU, slow on a CPU.")
    flags.DEFINE_enum(
        "strategy",
        "default",
        ["default", "mirrored", "multi_worker"],
        "default: one device; mirrored: all of this machine's; multi_worker: those of all "
        "processes that TF_CONFIG names, which see the same --run directory. The batch is divided "
        "among them.",
    )
    flags.DEFINE_integer(
        "accumulate", 1, "Parts in which a batch's convolutions are computed, to save memory."
    )
    flags.DEFINE_float("worker_timeout", 300.0, "Seconds to wait for the other workers.")


def configuration():
    """The run's configuration from the flags, checked without TensorFlow.

    Returns:
        JSON-compatible dict: model, data, training.

    Raises:
        ValueError: a flag is out of range or contradicts another.
    """
    limit = {"max_unreadable": FLAGS.max_unreadable}
    if FLAGS.dataset.startswith("folder:"):
        terminal.say("reading the folder")
    datasets.check(FLAGS.dataset, FLAGS.data_dir, **limit)
    info = datasets.info(FLAGS.dataset, FLAGS.data_dir, **limit)
    if len(info.shape) != 3:
        raise checks.invalid(
            "dataset", "images, since the networks are convolutional", f"{info.name!r}: points"
        )
    if FLAGS.latent_dims is not None and FLAGS.layers is not None:
        raise ValueError("Expected --latent_dims or --layers. Received both")
    preset, recipe, implied = recipes.settings(FLAGS.dataset, FLAGS.preset, info.shape[2])
    for name, text in implied.items():
        # Flags that were given stay; --layers stands for --latent_dims.
        if name != "latent_dims" or FLAGS.layers is None:
            FLAGS.set_default(name, text)
    if FLAGS.steps is not None and FLAGS.epochs is not None:
        raise ValueError("Expected --steps or --epochs. Received both")
    preprocessing = datasets.recipe(FLAGS.dataset, FLAGS.image_size, FLAGS.data_dir, **limit)
    image_size = preprocessing["image_size"]
    if FLAGS.latent_dims is None:
        sizes = recipes.sizes_of(FLAGS.dataset, info.shape[2])
        dims = presets.preset_sizes(sizes, _given(FLAGS.layers, 4)).latent_dims
    else:
        dims = _integers("latent_dims", FLAGS.latent_dims)
    model = presets.check_model_options(
        {
            "image_shape": (image_size, image_size, info.shape[2]),
            "latent_dims": dims,
            "beta": FLAGS.beta,
            "dataset_size": info.splits["train"],
            "penalty": FLAGS.penalty,
            "likelihood_from": FLAGS.likelihood_from,
            "inference": FLAGS.inference,
            "kl_estimator": FLAGS.kl_estimator,
            "tc_estimator": FLAGS.tc_estimator,
            "free_bits": FLAGS.free_bits,
            "likelihood_scale": FLAGS.likelihood_scale,
            "defences": defence_flags.chosen(),
            "seed": FLAGS.seed,
        }
    )
    _check_components(model, info.splits["train"])
    batch_size = checks.positive_integer("batch_size", _given(FLAGS.batch_size, recipe.batch_size))
    if batch_size > info.splits["train"]:
        raise checks.invalid(
            "batch_size", f"at most the {info.splits['train']} training images", batch_size
        )
    steps = _given(FLAGS.steps, recipe.steps if FLAGS.epochs is None else None)
    if steps is None:
        epochs = checks.positive_integer("epochs", _given(FLAGS.epochs, recipe.epochs))
        steps = epochs * (info.splits["train"] // batch_size)
    training = {
        "preset": preset,
        "batch_size": batch_size,
        "learning_rate": checks.finite_number(
            "learning_rate", _given(FLAGS.learning_rate, recipe.learning_rate), above=0
        ),
        "beta_2": recipe.beta_2,
        "warmup_steps": min(recipe.warmup_steps, checks.positive_integer("steps", steps) // 10),
        "steps": steps,
        "mixed_precision": FLAGS.mixed_precision,
        "xla": FLAGS.xla,
        "seed": FLAGS.seed,
    }
    data = {
        "name": info.name,
        "data_dir": _data_dir(),
        "image_size": image_size,
        **limit,
        "fingerprint": info.fingerprint,
        "preprocessing": preprocessing,
    }
    model["dtype"] = "mixed_bfloat16" if FLAGS.mixed_precision else "float32"
    return {
        "model": {**model, "image_shape": list(model["image_shape"]), "latent_dims": list(dims)},
        "data": data,
        "training": training,
    }


def _check_components(model, images):
    """Refuses more principal components than there are: those of so many images, or pixels."""
    units, pixels = model["latent_dims"][0], math.prod(model["image_shape"])
    if "pca" in model["defences"] and units > min(images - 1, pixels):
        raise checks.invalid(
            "latent_dims",
            f"fewer than the {images} training images in the lowest layer, and no more than "
            f"{pixels}, with --defence=pca",
            units,
        )


def _data_dir():
    """--data_dir as other programs find it, from wherever they are started."""
    return None if FLAGS.data_dir is None else os.path.abspath(FLAGS.data_dir)


def _given(value, default):
    return default if value is None else value


def _integers(name, texts):
    try:
        return tuple(int(text) for text in texts)
    except ValueError:
        raise checks.invalid(name, "whole numbers separated by commas", ",".join(texts)) from None


def default_run(config):
    """The default run directory's name, from the options that tell runs apart."""
    model = config["model"]
    dims = "-".join(map(str, model["latent_dims"]))
    dataset = re.sub(r"\W+", "_", config["data"]["name"].split("/")[-1])
    defences = "".join(f"_{name}" for name in model["defences"])
    return f"runs/{dataset}_{dims}_beta{model['beta']:g}{defences}_seed{model['seed']}"


def resumed_configuration(run):
    """The configuration of the run that is resumed; flags that contradict it are refused."""
    config = run.config()
    check_training(config)
    if any(FLAGS[name].present for name in FLAGS if _is_configuration(name)):
        _take_dataset(config)
        mine = configuration()
        for part in ("data", "model", "training"):
            for name, value in mine[part].items():
                flag = {"name": "dataset", "defences": "defence"}.get(name, name)
                started = config[part].get(name, {})
                if _is_configuration(flag) and FLAGS[flag].present and started != value:
                    raise checks.invalid(
                        flag, f"{started!r}, as {run.path} was started with", repr(value)
                    )
        _check_implied(run, config)
    # Another machine may have the same images elsewhere; training compares their fingerprints.
    if FLAGS["data_dir"].present:
        config["data"]["data_dir"] = _data_dir()
    return config


def _take_dataset(config):
    """Makes the run's dataset and batches the default: other flags are judged by them."""
    data = config["data"]
    own = {"data_dir": data["data_dir"], "batch_size": config["training"]["batch_size"]}
    if not FLAGS["dataset"].present:
        own |= {"dataset": data["name"], "max_unreadable": data.get("max_unreadable", 0)}
    for name, value in own.items():
        # Flags that were given stay.
        FLAGS.set_default(name, value)


def given_beside_configuration():
    """The flags that were given and are in no config.json, as arguments: a list of texts."""
    own = ("run", "resume", "overwrite")
    names = [name for name in _NOT_CONFIGURATION if name not in own and FLAGS[name].present]
    return [FLAGS[name].serialize() for name in names]


def _check_implied(run, config):
    """Refuses flags that are in no configuration themselves, but decide what is."""
    model, training = config["model"], config["training"]
    epoch = (model.get("dataset_size") or 0) // training["batch_size"]
    for flag, started in (
        ("layers", len(model["latent_dims"])),
        ("epochs", training["steps"] / max(epoch, 1)),
    ):
        if FLAGS[flag].present and FLAGS[flag].value != started:
            raise checks.invalid(
                flag, f"{started:g}, as {run.path} was started with", FLAGS[flag].value
            )


def _is_configuration(name):
    return name in {flag.name for flag in FLAGS.get_key_flags_for_module(sys.argv[0])} and (
        name not in _NOT_CONFIGURATION
    )
