"""folder:PATH, on folders of all kinds of images and of things that are none."""

import io
import json
import os
import pathlib
import struct
import zlib

import numpy as np
import pytest
from oracles import area_reduce
from PIL import Image
from programs import assert_refused, run_program

from seatbelt_tf import datasets
from seatbelt_tf.datasets import byte_cache, folder_index


@pytest.fixture(autouse=True)
def data_dir(tmp_path_factory, monkeypatch):
    """A data directory of its own, so that caches never meet."""
    directory = tmp_path_factory.mktemp("data")
    monkeypatch.setenv("TFDS_DATA_DIR", str(directory))
    return directory


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def write(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def fill(folder, count=20, suffix=".png", channels=3, side=40):
    """`count` different images; the first pixels of number k are k (+ 100 by channel)."""
    for number in range(count):
        shape = (side + number, side + 3) if channels == 1 else (side + number, side + 3, channels)
        write(folder / f"{number:03}{suffix}", noise(*shape, seed=number))


def gather(name, split, **options):
    options = {"batch_size": 7, "shuffle": False, "drop_remainder": False} | options
    return list(datasets.load(name, split, **options))


def test_images_of_any_size_are_cut_square_and_reduced_by_area(tmp_path):
    fill(tmp_path, 12, side=70)
    sizes = datasets.info(f"folder:{tmp_path}").splits
    assert sizes == {"train": 10, "validation": 1, "test": 1}
    received = [
        image
        for split in sizes
        for batch in gather(f"folder:{tmp_path}", split, as_uint8=True, image_size=32)
        for image in batch.numpy()
    ]
    expected = []
    for number in range(12):
        image = noise(70 + number, 73, 3, seed=number)
        side = min(image.shape[:2])
        top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
        square = image[top : top + side, left : left + side].astype(float)
        expected.append(np.floor(area_reduce(square, 32) + 0.5 + 1e-9))
    assert received[0].shape == (32, 32, 3)
    order = {tuple(image[:2].ravel()) for image in received}
    assert order == {tuple(image[:2].ravel()) for image in expected}


def test_classes_are_read_mixed(tmp_path):
    for place, name in enumerate("abcd"):
        (tmp_path / name).mkdir()
        for number in range(30):
            write(tmp_path / name / f"{number}.png", noise(32, 32, 3, seed=100 * place + number))
    name = f"folder:{tmp_path}"
    for split, count in datasets.info(name).splits.items():
        (labels,) = (b[1].numpy() for b in gather(name, split, batch_size=count, with_labels=True))
        assert np.any(np.diff(labels) < 0)


def test_floats_are_in_the_models_range(tmp_path):
    fill(tmp_path, 10)
    (images,) = gather(f"folder:{tmp_path}", "train", batch_size=8)
    assert images.shape == (8, 64, 64, 3)
    assert np.abs(images).max() <= 1


def test_class_subfolders_are_labels_and_every_class_is_in_every_split(tmp_path):
    for label, shade in (("cats", 10), ("dogs", 200)):
        for number in range(20):
            image = np.full((32, 32, 3), shade, np.uint8)
            image[number] = 255
            write(tmp_path / label / "deeper" / f"{number}.png", image)
    name = f"folder:{tmp_path}"
    assert datasets.info(name).labels == ("cats", "dogs")
    assert datasets.info(name).splits == {"train": 32, "validation": 4, "test": 4}
    for split in ("train", "validation", "test"):
        for images, labels in gather(name, split, with_labels=True, as_uint8=True, image_size=32):
            shades = np.median(images, axis=(1, 2, 3))
            np.testing.assert_array_equal(labels, np.where(shades == 10, 0, 1))
            assert labels.dtype == np.int32


def test_labels_without_class_folders_are_refused(tmp_path):
    fill(tmp_path, 5)
    with pytest.raises(ValueError, match="class subfolders would be"):
        datasets.load(f"folder:{tmp_path}", batch_size=2, with_labels=True)


def test_only_grey_images_make_a_grey_dataset(tmp_path):
    fill(tmp_path, 5, channels=1)
    assert datasets.info(f"folder:{tmp_path}").shape == (64, 64, 1)
    write(tmp_path / "colour.jpg", noise(40, 40, 3))
    assert datasets.info(f"folder:{tmp_path}").shape == (64, 64, 3)


def test_all_formats_and_modes_go_through(tmp_path):
    image = Image.fromarray(noise(50, 60, 3))
    for number, (mode, file) in enumerate(
        {
            "RGB": "a.png", "RGBA": "b.webp", "L": "c.jpg", "P": "d.png", "CMYK": "e.jpeg",
            "LA": "f.png", "1": "g.png", "YCbCr": "h.jpg",
        }.items()
    ):  # fmt: skip
        image.rotate(number).convert(mode).save(tmp_path / file)
    Image.fromarray(noise(50, 60).astype(np.uint16) * 257).save(tmp_path / "i.PNG")
    assert sum(datasets.info(f"folder:{tmp_path}").splits.values()) == 9
    (images,) = gather(f"folder:{tmp_path}", "train", batch_size=7)
    assert images.shape == (7, 64, 64, 3)


def test_the_same_images_elsewhere_are_the_same_dataset(tmp_path):
    fill(tmp_path / "a", 30)
    for number, path in enumerate(sorted((tmp_path / "a").iterdir(), reverse=True)):
        (tmp_path / "b").mkdir(exist_ok=True)
        (tmp_path / "b" / f"{number}.png").write_bytes(path.read_bytes())
    first, second = (datasets.info(f"folder:{tmp_path / name}") for name in "ab")
    assert first.fingerprint == second.fingerprint
    for split in first.splits:
        images = [gather(f"folder:{tmp_path / name}", split, batch_size=64)[0] for name in "ab"]
        np.testing.assert_array_equal(*images)


def test_the_splits_share_no_image_even_when_files_are_copies(tmp_path):
    fill(tmp_path, 20)
    for path in sorted(tmp_path.iterdir())[:5]:
        (tmp_path / f"copy_{path.name}").write_bytes(path.read_bytes())
    info = datasets.info(f"folder:{tmp_path}")
    assert sum(info.splits.values()) == 20
    assert sum("the same as another: copy_" in note for note in info.notes) == 5
    images = [gather(f"folder:{tmp_path}", split, batch_size=64)[0] for split in info.splits]
    assert len(np.unique(np.concatenate(images).reshape(20, -1), axis=0)) == 20


def test_order_is_reproducible_and_resumable(tmp_path):
    fill(tmp_path, 30)
    options = {"batch_size": 8, "repeat": True, "seed": 3, "as_uint8": True}
    name = f"folder:{tmp_path}"
    whole = [batch.numpy() for batch in datasets.load(name, **options).take(9)]
    rest = [batch.numpy() for batch in datasets.load(name, start_step=5, **options).take(4)]
    np.testing.assert_array_equal(whole[5:], rest)


def test_images_are_decoded_once_and_the_folder_stays_as_it_was(tmp_path, data_dir):
    fill(tmp_path, 10)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path, *tmp_path.iterdir())}
    first = gather(f"folder:{tmp_path}", "train")[0].numpy()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path, *tmp_path.iterdir())} == before
    kept = {path: path.stat().st_mtime_ns for path in (data_dir / "seatbelt_cache").iterdir()}
    assert len(kept) == 2
    datasets.folder._decoded.cache_clear()
    folder_index._read.cache_clear()
    np.testing.assert_array_equal(gather(f"folder:{tmp_path}", "train")[0], first)
    assert {p: p.stat().st_mtime_ns for p in (data_dir / "seatbelt_cache").iterdir()} == kept


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"entries": 3}'])
def test_a_damaged_index_is_made_again(content, tmp_path, data_dir):
    fill(tmp_path, 10)
    expected = datasets.info(f"folder:{tmp_path}")
    (path,) = (data_dir / "seatbelt_cache").glob("*.json")
    path.write_text(content)
    folder_index._read.cache_clear()
    assert datasets.info(f"folder:{tmp_path}") == expected


def test_a_changed_image_changes_the_dataset(tmp_path):
    fill(tmp_path, 10)
    before = datasets.info(f"folder:{tmp_path}").fingerprint
    write(tmp_path / "000.png", noise(40, 40, 3, seed=99))
    assert datasets.info(f"folder:{tmp_path}").fingerprint != before


def bomb(width, height):
    """A PNG of a few bytes that claims to be huge."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def png(image):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def gif():
    stream = io.BytesIO()
    Image.fromarray(noise(40, 40)).save(stream, "GIF")
    return stream.getvalue()


UNREADABLE = {
    "empty": (b"", "cannot identify image file"),
    "text": (b"hello", "cannot identify image file"),
    "truncated": (png(noise(64, 64, 3))[:-3000], "truncated"),
    "corrupt": (png(noise(64, 64, 3)).replace(b"IDAT", b"IDAX"), "."),
    "gif": (gif(), "cannot identify image file"),
    "bomb": (bomb(10_000, 10_000), "more than 67108864 pixels"),
    "worse bomb": (bomb(30_000, 30_000), "decompression bomb"),
    "worst bomb": (bomb(2**31 - 1, 2**31 - 1), "."),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_an_unreadable_file_is_named_and_left_out_only_if_allowed(kind, tmp_path):
    content, reason = UNREADABLE[kind]
    fill(tmp_path, 10)
    (tmp_path / "bad.png").write_bytes(content)
    name = f"folder:{tmp_path}"
    with pytest.raises(
        ValueError, match=rf"at least 1, the number .*bad\.png: .*{reason}"
    ) as caught:
        datasets.check(name)
    assert "\n" not in str(caught.value)
    info = datasets.info(name, max_unreadable=1)
    assert sum(info.splits.values()) == 10
    assert any("bad.png" in note for note in info.notes)
    (images,) = gather(name, "train", max_unreadable=1, batch_size=8)
    assert images.shape == (8, 64, 64, 3)


def test_links_and_pipes_are_not_followed_into_trouble(tmp_path):
    fill(tmp_path, 10)
    (tmp_path / "dangling.png").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    info = datasets.info(f"folder:{tmp_path}", max_unreadable=2)
    assert sum(info.splits.values()) == 10
    assert any("pipe.png: not a regular file" in note for note in info.notes)


def test_other_files_and_hidden_ones_are_ignored(tmp_path):
    fill(tmp_path, 10)
    for name in ("README.txt", ".hidden.png", ".git/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no image")
    assert sum(datasets.info(f"folder:{tmp_path}").splits.values()) == 10


def refused(tmp_path, prepare):
    prepare(tmp_path / "images")
    with pytest.raises(ValueError, match="Invalid value for dataset") as caught:
        datasets.check(f"folder:{tmp_path / 'images'}")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_unusable_folders_are_refused_in_one_line(tmp_path):
    assert "existing folder" in refused(tmp_path, lambda _: None)
    assert "a folder with images" in refused(tmp_path, pathlib.Path.mkdir)
    assert "has 2" in refused(tmp_path, lambda path: fill(path, 2))
    assert "rare has 1" in refused(
        tmp_path / "classes",
        lambda path: (fill(path / "often", 5), write(path / "rare" / "a.png", noise(40, 40))),
    )
    assert "all images in class subfolders, or none (000.png" in refused(
        tmp_path / "beside", lambda path: (fill(path, 5), fill(path / "a", 5, side=50))
    )
    assert "a folder with a readable image (a.png: " in refused(tmp_path / "bad", broken)
    with pytest.raises(ValueError, match="existing folder"):
        datasets.check("folder:")


def broken(path):
    path.mkdir(parents=True)
    (path / "a.png").write_bytes(b"")


def test_missing_permission_is_one_line(tmp_path, monkeypatch):
    fill(tmp_path, 5)

    def denied(path, onerror):
        onerror(PermissionError(13, "Permission denied", os.fspath(path)))
        return []

    monkeypatch.setattr(folder_index.os, "walk", denied)
    with pytest.raises(ValueError, match="Permission denied"):
        datasets.check(f"folder:{tmp_path}")


@pytest.mark.parametrize("limit", [-1, 1.5, "2", True])
def test_a_limit_that_is_no_count_is_refused(limit, tmp_path):
    fill(tmp_path, 5)
    with pytest.raises(ValueError, match="Invalid value for max_unreadable"):
        datasets.check(f"folder:{tmp_path}", max_unreadable=limit)


def test_a_limit_for_a_dataset_that_is_no_folder_is_refused():
    with pytest.raises(ValueError, match="Expected 0 for sprites"):
        datasets.check("sprites", max_unreadable=1)


def test_what_a_killed_process_left_is_removed_and_what_another_writes_is_not(tmp_path):
    stale, busy, young = (tmp_path / f".{name}.npy.1.part" for name in ("stale", "busy", "young"))
    for path in (stale, busy, young):
        path.write_bytes(b"half")
    for path in (stale, busy):
        os.utime(path, (0, 0))
    with busy.open("rb") as file:
        byte_cache.fcntl.flock(file, byte_cache.fcntl.LOCK_EX)
        byte_cache.on_disk(tmp_path, "x", [(np.zeros((4, 3), np.uint8),)], [((4, 3), np.uint8)])
    assert {path.name for path in tmp_path.iterdir()} == {"x-0.npy", busy.name, young.name}


def test_training_on_a_folder_is_one_command_that_records_what_it_did(tmp_path):
    for label in ("a", "b"):
        fill(tmp_path / "photos" / label, 40, side=33 if label == "a" else 50)
    (tmp_path / "photos" / "a" / "bad.png").write_bytes(b"")
    options = ("--dataset=folder:photos", "--image_size=32", "--latent_dims=3", "--run=run")
    small = ("--batch_size=16", "--steps=4")
    refused = run_program("train", *options, *small, directory=tmp_path, without_tensorflow=True)
    assert_refused(refused, "a/bad.png")
    result = run_program("train", *options, *small, "--max_unreadable=1", directory=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "dataset: left out, unreadable: a/bad.png" in result.stdout
    data = json.loads((tmp_path / "run" / "config.json").read_text())["data"]
    name = f"folder:{tmp_path / 'photos'}"
    assert data["name"] == name
    assert data["preprocessing"] == datasets.recipe(name, 32, max_unreadable=1)
    assert data["fingerprint"] == datasets.info(name, max_unreadable=1).fingerprint
