"""The images of a run's dataset, prepared as its configuration says, split by split."""

import numpy as np

from seatbelt_tf import checks, datasets

# Images at once where no gradient is taken.
BATCH = 200


def batches(config, split, **options):
    """The run's dataset: see `datasets.load`.

    Raises:
        ValueError: as `datasets.load`, or its images would be preprocessed otherwise than when the
            run was started.
    """
    place = {
        "image_size": config["image_size"],
        "data_dir": config["data_dir"],
        "max_unreadable": config.get("max_unreadable", 0),
    }
    recipe = datasets.recipe(config["name"], **place)
    if config.get("preprocessing", recipe) != recipe:
        raise checks.invalid(
            "preprocessing", f"{recipe}, as this version has it", config["preprocessing"]
        )
    return datasets.load(config["name"], split, **place, **options)


def first(data, split, count, *, with_labels=False):
    """The first images of a split in the dataset's own order.

    Returns:
        (images (N, H, W, C) float32 in [-1, 1], labels (N,) or (N, factors), or None).
    """
    size = min(BATCH, count)
    found = batches(
        data,
        split,
        batch_size=size,
        shuffle=False,
        drop_remainder=False,
        with_labels=with_labels,
    ).take(-(-count // size))
    parts = list(found.as_numpy_iterator())
    if not with_labels:
        return np.concatenate(parts)[:count], None
    return tuple(np.concatenate(column)[:count] for column in zip(*parts, strict=True))


def pairs(config, count, seed=0, split="test"):
    """Images and targets from a split, chosen by the seed, none twice: two (P, H, W, C).

    Raises:
        ValueError: the split has fewer images.
    """
    held = info(config).splits[split]
    if 2 * count > held:
        raise checks.invalid("pairs", f"at most {held // 2}, half the {held} {split} images", count)
    found = batches(
        config, split, batch_size=2 * count, shuffle=True, seed=seed, drop_remainder=True
    )
    return tuple(np.split(next(iter(found)).numpy(), 2))


def info(config):
    """What is known of the run's dataset: see `datasets.info`."""
    return datasets.info(
        config["name"], config["data_dir"], max_unreadable=config.get("max_unreadable", 0)
    )


def check_same_images(config):
    """Raises ValueError when the dataset's images are not those the run was started with."""
    found = info(config)
    if config.get("fingerprint", found.fingerprint) != found.fingerprint:
        raise checks.invalid(
            "dataset",
            f"the images the run was started with (fingerprint {config['fingerprint']})",
            f"{found.name!r} with fingerprint {found.fingerprint}",
        )
