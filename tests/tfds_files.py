"""Datasets in the format that TFDS writes, for tests to read."""

import json

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from seatbelt_tf import datasets

CELEB_A_LABELS = datasets.info("celeb_a").labels
CLASSES = tfds.features.ClassLabel


def digits():
    return {"image": tfds.features.Image(shape=(32, 32, 3)), "label": CLASSES(num_classes=10)}


def faces():
    return {
        "image": tfds.features.Image(shape=(218, 178, 3), encoding_format="png"),
        "attributes": dict.fromkeys(CELEB_A_LABELS, np.bool_),
    }


def grid():
    sizes = {"shape": 3, "scale": 6, "orientation": 40, "x_position": 32, "y_position": 32}
    labels = {f"label_{name}": CLASSES(num_classes=size) for name, size in sizes.items()}
    return {"image": tfds.features.Image(shape=(64, 64, 1)), **labels}


FEATURES = {
    "cifar10": ("3.0.2", digits),
    "svhn_cropped": ("3.1.0", digits),
    "celeb_a": ("2.1.0", faces),
    "dsprites": ("2.0.0", grid),
}


def prepare(data_dir, name, splits, shards=2):
    """Writes a dataset as TFDS does, from split -> list of examples (None: empty record files)."""
    version, features = FEATURES[name]
    features = tfds.features.FeaturesDict(features())
    directory = data_dir / name / version
    directory.mkdir(parents=True)
    features.save_config(directory)
    described = []
    for split, examples in splits.items():
        parts = [part.tolist() for part in np.array_split(np.arange(len(examples)), shards)]
        for shard, part in enumerate(parts):
            path = directory / f"{name}-{split}.tfrecord-{shard:05d}-of-{shards:05d}"
            with tf.io.TFRecordWriter(str(path)) as writer:
                for place in part:
                    if examples[place] is not None:
                        writer.write(features.serialize_example(examples[place]))
        lengths = [str(len(part)) for part in parts]
        described.append({"name": split, "shardLengths": lengths, "numBytes": "0"})
    info = {"name": name, "version": version, "fileFormat": "tfrecord", "splits": described}
    (directory / "dataset_info.json").write_text(json.dumps(info))
    return directory


def random_digits(count, seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), np.uint8)
    return [{"image": image, "label": place % 10} for place, image in enumerate(images)]
