"""Datasets read from TFDS directories: tiny ones in the real format, and the shared CIFAR-10."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from oracles import area_reduce
from tfds_files import CELEB_A_LABELS, FEATURES, prepare, random_digits

from seatbelt_tf import datasets
from seatbelt_tf.datasets import byte_cache, tfds_images

SHARED = pathlib.Path(__file__).parents[3] / "shared" / "data"


def gather(name, split, data_dir, **options):
    """All of a split in the order of the files."""
    options = {"batch_size": 7, "shuffle": False, "drop_remainder": False} | options
    batches = list(datasets.load(name, split, data_dir=data_dir, with_labels=True, **options))
    return tuple(np.concatenate([batch[member] for batch in batches]) for member in (0, 1))


@pytest.mark.parametrize("name", ["cifar10", "svhn_cropped"])
def test_pixels_and_labels_come_through_unchanged_and_splits_partition_the_files(name, tmp_path):
    train, test = random_digits(41), random_digits(13, seed=1)
    prepare(tmp_path, name, {"train": train, "test": test})
    assert datasets.info(name, tmp_path).splits == {"train": 37, "validation": 4, "test": 13}
    expected = {"train": train[:37], "validation": train[37:], "test": test}
    for split, examples in expected.items():
        images, labels = gather(name, split, tmp_path)
        whole = np.stack([example["image"] for example in examples])
        np.testing.assert_array_equal(images, datasets.scale(whole))
        np.testing.assert_array_equal(labels, [example["label"] for example in examples])
        assert images.min() == -1
        assert images.max() == 1


def test_celeb_a_is_the_central_crop_reduced_by_area(tmp_path):
    rng = np.random.default_rng(0)
    examples = [
        {
            "image": rng.integers(0, 256, (218, 178, 3), np.uint8),
            "attributes": {name: bool(rng.integers(2)) for name in CELEB_A_LABELS},
        }
        for _ in range(3)
    ]
    prepare(tmp_path, "celeb_a", {"train": examples, "validation": [], "test": []})
    images, labels = gather("celeb_a", "train", tmp_path, as_uint8=True)
    assert images.shape == (3, 64, 64, 3)
    for image, label, example in zip(images, labels, examples, strict=True):
        crop = example["image"][35:183, 15:163].astype(float)
        # Rounding to a byte, and the oracle's own rounding beside a half.
        np.testing.assert_allclose(image, area_reduce(crop, 64), atol=0.5 + 1e-9)
        assert label.tolist() == [int(example["attributes"][name]) for name in CELEB_A_LABELS]


def test_dsprites_become_black_and_white_with_factor_labels(tmp_path):
    rng = np.random.default_rng(0)
    examples = [
        {
            "image": rng.integers(0, 2, (64, 64, 1), np.uint8),
            "label_shape": 1,
            "label_scale": place % 6,
            "label_orientation": 39,
            "label_x_position": 3,
            "label_y_position": 31,
        }
        for place in range(40)
    ]
    prepare(tmp_path, "dsprites", {"train": examples})
    assert datasets.info("dsprites", tmp_path).splits == {"train": 36, "validation": 2, "test": 2}
    images, labels = gather("dsprites", "validation", tmp_path)
    np.testing.assert_array_equal(images[0], 2.0 * examples[36]["image"] - 1)
    np.testing.assert_array_equal(labels, [[1, 0, 39, 3, 31], [1, 1, 39, 3, 31]])
    assert datasets.info("dsprites").factors == datasets.info("sprites").factors


@pytest.mark.parametrize("name", FEATURES)
def test_images_invented_by_mock_data_go_through(name, tmp_path):
    empty = dict.fromkeys(("train", "validation", "test"), [None] * 10)
    directory = prepare(tmp_path, name, empty)
    with tfds.testing.mock_data(
        num_examples=10, policy=tfds.testing.MockPolicy.USE_FILES, data_dir=str(directory)
    ):
        (images, labels), *_ = datasets.load(
            name, batch_size=3, data_dir=tmp_path, with_labels=True
        )
    assert images.shape == (3, *datasets.info(name).shape)
    assert labels.dtype == tf.int32
    assert tf.reduce_min(images) >= -1
    assert tf.reduce_max(images) <= 1


def test_large_datasets_are_decoded_once_into_files_and_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(byte_cache, "MAX_BYTES_IN_MEMORY", 0)
    directory = prepare(tmp_path, "cifar10", {"train": random_digits(30), "test": []})
    first = gather("cifar10", "train", tmp_path)
    assert len(list((tmp_path / "seatbelt_cache").iterdir())) == 2
    for path in directory.glob("*.tfrecord*"):
        path.write_bytes(b"")
    tfds_images._decode_once.cache_clear()
    second = gather("cifar10", "train", tmp_path)
    for ours, again in zip(first, second, strict=True):
        np.testing.assert_array_equal(ours, again)
    np.testing.assert_array_equal(first[1], np.arange(27) % 10)


def test_an_interrupted_decoding_leaves_no_cache(tmp_path):
    def interrupted():
        yield (np.zeros((2, 3), np.uint8),)
        raise KeyboardInterrupt

    specs = [((4, 3), np.uint8)]
    with pytest.raises(KeyboardInterrupt):
        byte_cache.on_disk(tmp_path, "x", interrupted(), specs)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="Expected 4 examples"):
        byte_cache.on_disk(tmp_path, "x", [(np.zeros((3, 3), np.uint8),)], specs)
    assert not list(tmp_path.iterdir())


def test_a_damaged_cache_file_is_made_again(tmp_path):
    specs = [((4, 3), np.uint8)]
    batch = np.arange(12, dtype=np.uint8).reshape(4, 3)
    byte_cache.on_disk(tmp_path, "x", [(batch,)], specs)
    path = tmp_path / "x-0.npy"
    path.write_bytes(path.read_bytes()[:-5])
    (again,) = byte_cache.on_disk(tmp_path, "x", [(batch,)], specs)
    np.testing.assert_array_equal(again, batch)


def test_an_unwritable_data_directory_sends_the_cache_to_the_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setattr(byte_cache.tempfile, "gettempdir", lambda: str(tmp_path))
    blocked = tmp_path / "data"
    blocked.write_text("a file, so that no directory can be made below it")
    assert byte_cache.directory_for(blocked).parent == tmp_path


def test_a_dataset_that_is_not_prepared_is_refused_with_the_command_to_run(tmp_path):
    with pytest.raises(ValueError, match=r"tfds\.load\('celeb_a', data_dir=") as caught:
        datasets.load("celeb_a", batch_size=8, data_dir=tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_the_default_data_directory_is_the_one_of_tfds(tmp_path, monkeypatch):
    prepare(tmp_path, "cifar10", {"train": random_digits(20), "test": []})
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    datasets.check("cifar10")
    assert datasets.info("cifar10").splits["train"] == 18
    with pytest.raises(ValueError, match="Expected a split with images"):
        datasets.load("cifar10", "test", batch_size=2)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "elsewhere"))
    with pytest.raises(ValueError, match="to get it run"):
        datasets.check("cifar10")


def test_a_half_copied_dataset_is_refused(tmp_path):
    directory = prepare(tmp_path, "cifar10", {"train": random_digits(20), "test": []})
    (directory / "cifar10-train.tfrecord-00001-of-00002").unlink()
    with pytest.raises(ValueError, match=r"cifar10-train\.tfrecord-00001-of-00002"):
        datasets.load("cifar10", batch_size=2, data_dir=tmp_path)


def test_truncated_records_are_refused(tmp_path):
    directory = prepare(tmp_path, "cifar10", {"train": random_digits(20), "test": []})
    path = directory / "cifar10-train.tfrecord-00001-of-00002"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="Expected readable records of cifar10"):
        datasets.load("cifar10", batch_size=2, data_dir=tmp_path)


@pytest.mark.parametrize("content", ["", "{}", '{"splits": 3}', "[1]", '{"splits": [{}]}'])
def test_an_unreadable_description_is_refused(content, tmp_path):
    directory = prepare(tmp_path, "cifar10", {"train": [], "test": []})
    (directory / "dataset_info.json").write_text(content)
    with pytest.raises(ValueError, match=r"dataset_info\.json"):
        datasets.check("cifar10", tmp_path)


@pytest.mark.skipif(not (SHARED / "cifar10").is_dir(), reason="no shared CIFAR-10")
def test_the_shared_cifar10_is_real_photographs_in_ten_classes():
    assert datasets.info("cifar10", SHARED).splits == {
        "train": 18_000,
        "validation": 2_000,
        "test": 4_000,
    }
    images, labels = gather("cifar10", "test", SHARED, batch_size=1000)
    assert images.shape == (4_000, 32, 32, 3)
    assert images.min() == -1
    assert images.max() == 1
    assert np.bincount(labels, minlength=10).min() > 300
    # Published mean and standard deviation of CIFAR-10 by channel; 4,000 images and JPEG.
    np.testing.assert_allclose(
        (images.mean(axis=(0, 1, 2)) + 1) / 2, [0.4914, 0.4822, 0.4465], atol=0.02
    )
    np.testing.assert_allclose(images.std(axis=(0, 1, 2)) / 2, [0.2470, 0.2435, 0.2616], atol=0.02)
