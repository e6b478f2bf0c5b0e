"""Measures the pipeline of every dataset: speed, share of a step, pixel range, order, splits.

    python -m benchmarks.datasets --data_dir=DATA_DIR --json=results/datasets.json

DATA_DIR is a TFDS data directory with cifar10. What cannot be had without a download is measured
on stand-ins: CIFAR-10 photographs or sprites written as TFDS writes that dataset, same image size,
encoding and features, fewer images. Every measurement is a process of its own: `first_batch_s`
includes no import of TensorFlow, but opening and, the first time, decoding. The step that input is
compared with is that of the dataset's model of four layers, on one batch that is there already.
"""

import hashlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks import command_line, results
from benchmarks.models import compiled_model
from seatbelt_tf import datasets, figures, presets, runs
from trainers import program, recipes

STAND_INS = ("celeb_a", "svhn_cropped", "dsprites", "chairs", "faces3d")
WORK = pathlib.Path("runs/datasets")
COUNT, PHOTOGRAPHS = 6_000, 400
BATCH, SECONDS = 64, 3.0
STEPS = 20


def main():
    parser = command_line.parser("datasets", __doc__)
    parser.add_argument("--data_dir", required=True, help="TFDS data directory with cifar10")
    parser.add_argument(
        "--json", metavar="PATH", default="results/datasets.json", help="written to, and a table"
    )
    parser.add_argument("--dataset", help="measure it alone and print that")
    arguments = parser.parse_args()
    program.import_tensorflow()
    folder = WORK / "photographs"
    if arguments.dataset:
        print(
            json.dumps(
                _measure(arguments.dataset, _data_dir(arguments.dataset, arguments.data_dir))
            )
        )
        return
    for name in STAND_INS:
        _write_stand_in(name, arguments.data_dir)
    _write_photographs(folder, arguments.data_dir)
    rows = {}
    for name in (*datasets.names(), f"folder:{folder}"):
        for _ in ("decoding", "cached"):
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.datasets", f"--data_dir={arguments.data_dir}",
                 f"--dataset={name}"],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            row = json.loads(done.stdout)
            label = name.partition(":")[0]
            first = rows.get(label, row)["first_batch_s"]
            rows[label] = {**row, "first_batch_s": first, "again_s": row["first_batch_s"]}
        rows[label]["stand_in"] = name in STAND_INS
        print(label, rows[label], flush=True)
    report = {
        "command": "python -m benchmarks.datasets --data_dir=DATA_DIR --json=results/datasets.json",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "load_average": round(os.getloadavg()[0], 1),
        "batch_size": BATCH,
        "datasets": rows,
        "white_share_of_sprites": _white_shares(),
    }
    results.write(arguments.json, report, _table(report))


def _table(report):
    """The speeds in Markdown."""
    lines = [
        f"Written by `{report['command']}` on {report['machine']}, load {report['load_average']}: "
        f"batches of {BATCH}, cached.",
        "",
        "| dataset | input, images/s | training step, images/s | input time / step time |",
        "|---|---:|---:|---:|",
    ]
    for name, row in report["datasets"].items():
        label = f"{name} (stand-in)" if row["stand_in"] else name
        rate = row["training_images_per_s"]
        steps = f"{rate:,} | {rate / row['images_per_s']:.3f}" if rate else "— | —"
        lines.append(f"| {label} | {row['images_per_s']:,} | {steps} |")
    return "\n".join(lines) + "\n"


def _data_dir(name, cifar10):
    return pathlib.Path(cifar10) if name == "cifar10" else WORK / "tfds"


def _measure(name, data_dir):
    """One dataset, as JSON-compatible dict; also draws its contact sheet."""
    import tensorflow as tf

    tf.zeros(1) + 1  # the runtime's start is not the dataset's
    options = {"batch_size": BATCH, "data_dir": data_dir, "seed": 3}
    start = time.perf_counter()
    stream = iter(datasets.load(name, repeat=True, **options))
    sheet = next(stream).numpy()
    first = time.perf_counter() - start
    start, images = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        images += len(next(stream))
    seconds = time.perf_counter() - start
    test = np.concatenate(list(datasets.load(name, "test", **options).take(40).as_numpy_iterator()))
    whole = list(datasets.load(name, repeat=True, **options).take(8).as_numpy_iterator())
    rest = datasets.load(name, repeat=True, start_step=5, **options).take(3).as_numpy_iterator()
    splits = {split: _digests(name, split, options) for split in ("train", "validation", "test")}
    _draw(name, sheet)
    return {
        "shape": sheet.shape[1:],
        "training_images_per_s": _training_rate(name, sheet) if sheet.ndim == 4 else None,
        "splits": dict(datasets.info(name, data_dir).splits),
        "images_per_s": round(images / seconds),
        "first_batch_s": round(first, 3),
        "lowest": float(min(test.min(), sheet.min())),
        "highest": float(max(test.max(), sheet.max())),
        "same_after_resume": all(map(np.array_equal, whole[5:], rest)),
        "test_images_seen_in_training": len(splits["test"] & splits["train"]),
        "validation_images_seen_in_training": len(splits["validation"] & splits["train"]),
    }


def _training_rate(name, images):
    """Images a second of training steps on one batch, by the dataset's model of four layers."""
    import tensorflow as tf

    sizes = presets.preset_sizes(recipes.sizes_of(name, images.shape[-1]), 4)
    model = compiled_model(images.shape[1:], sizes.latent_dims)
    step = tf.function(lambda batch: model.train_step((batch,))["loss"], autograph=False)
    images = tf.constant(images)
    step(images)
    start = time.perf_counter()
    for _ in range(STEPS):
        loss = step(images)
    loss.numpy()
    return round(STEPS * len(images) / (time.perf_counter() - start))


def _draw(name, batch):
    """The first training batch: a contact sheet, or a look along the roll's axis."""
    label = name.partition(":")[0]
    title = f"{label} (stand-in)" if label in STAND_INS else label
    if batch.ndim == 4:
        figure = figures.image_grid(batch[:24], columns=12, title=title)
    else:
        figure = Figure(figsize=(3, 3), dpi=100)
        FigureCanvasAgg(figure)
        axes = figure.add_subplot(aspect="equal", title=title, xlabel="$x_1$", ylabel="$x_3$")
        points = next(iter(datasets.load(name, batch_size=2000))).numpy()
        axes.scatter(points[:, 0], points[:, 2], c=points[:, 1], s=2)
        figure.tight_layout()
    figures.save(figure, pathlib.Path("results/datasets") / f"{label}.png")


def _digests(name, split, options):
    """The different images of a split, up to 40,000 of them (for sprites the factors)."""
    keep = {"shuffle": False, "drop_remainder": False, **options}
    if name in ("sprites", "swiss_roll"):
        batches = datasets.load(name, split, with_labels=name == "sprites", **keep).take(625)
        parts = [batch[1] if name == "sprites" else batch for batch in batches]
    else:
        parts = list(datasets.load(name, split, as_uint8=True, **keep).take(625))
    return {hashlib.sha256(row.tobytes()).digest() for part in parts for row in part.numpy()}


def _white_shares():
    """Mean share of white pixels by shape and scale, over orientations, and over everything."""
    grid = np.array([(s, k, o, 9, 21) for s in range(3) for k in range(6) for o in range(40)])
    images = datasets.sprites.render(datasets.sprites.index(grid))
    shares = np.count_nonzero(images, axis=(1, 2, 3)).reshape(3, 6, 40).mean(axis=2) / 4096
    table = dict(zip(datasets.sprites.SHAPES, shares.round(5).tolist(), strict=True))
    return {**table, "all": round(float(shares.mean()), 6), "all_in_dsprites": 0.042494}


def _photographs(cifar10, count):
    batches = datasets.load(
        "cifar10", data_dir=cifar10, batch_size=count, shuffle=False, as_uint8=True
    )
    return next(iter(batches)).numpy()


def _enlarged(image, width, height):
    from PIL import Image

    size = (width, height)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def _write_photographs(folder, cifar10):
    """CIFAR-10 photographs in three formats and several sizes, and Matplotlib's sample photo."""
    import matplotlib
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(_photographs(cifar10, PHOTOGRAPHS)):
        suffix = ("png", "jpg", "webp")[number % 3]
        size = (32, 48, 64, 100)[number % 4]
        Image.fromarray(_enlarged(image, size, size + number % 7)).save(
            folder / f"{number:03}.{suffix}"
        )
    hopper = pathlib.Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    (folder / hopper.name).write_bytes(hopper.read_bytes())


def _write_stand_in(name, cifar10):
    """A dataset in TFDS's format: see the module's docstring."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    version, parts = {
        "celeb_a": ("2.1.0", ("train", "validation", "test")),
        "svhn_cropped": ("3.1.0", ("train", "test")),
        "dsprites": ("2.0.0", ("train",)),
        "chairs": ("1.0.0", ("train", "validation", "test")),
        "faces3d": ("1.0.0", ("train",)),
    }[name]
    directory = WORK / "tfds" / name / version
    if (directory / "dataset_info.json").exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    info = datasets.info(name)
    labels = {"label": np.int64}
    image = tfds.features.Image(shape=info.shape)
    if name == "celeb_a":
        image = tfds.features.Image(shape=(218, 178, 3), encoding_format="jpeg")
        labels = {"attributes": dict.fromkeys(info.labels, np.bool_)}
    elif name == "dsprites":
        columns = ("shape", "scale", "orientation", "x_position", "y_position")
        labels = dict.fromkeys([f"label_{column}" for column in columns], np.int64)
    elif info.factors is not None:
        labels = dict.fromkeys(info.factors, np.int32)
    features = tfds.features.FeaturesDict({"image": image, **labels})
    features.save_config(directory)
    values = tf.nest.map_structure(lambda _: 0, labels)
    count = COUNT // len(parts)
    examples = iter(_stand_in_images(name, cifar10))
    for part in parts:
        path = directory / f"{name}-{part}.tfrecord-00000-of-00001"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for _ in range(count):
                example = {"image": next(examples), **values}
                writer.write(features.serialize_example(features.encode_example(example)))
    splits = [{"name": part, "shardLengths": [str(count)], "numBytes": "0"} for part in parts]
    description = {"name": name, "version": version, "fileFormat": "tfrecord", "splits": splits}
    runs.write_json(directory / "dataset_info.json", description)


def _stand_in_images(name, cifar10):
    if name in ("celeb_a", "svhn_cropped"):
        for image in _photographs(cifar10, COUNT):
            yield _enlarged(image, 178, 218) if name == "celeb_a" else image
    else:
        chosen = np.random.default_rng(0).permutation(datasets.sprites.SIZE)[:COUNT]
        for image in datasets.sprites.render(chosen):
            yield image // 255 if name == "dsprites" else 255 - image // 2


if __name__ == "__main__":
    main()
