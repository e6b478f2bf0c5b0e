"""The TFDS builders of chairs and faces3d, on small complete sets in the real layouts."""

import io
import os
import pickle
import shutil
import tarfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from oracles import area_reduce
from PIL import Image
from programs import assert_refused, run_program

from seatbelt_tf import datasets
from seatbelt_tf.datasets.builders import Chairs, Faces3d, torch_file

CHAIRS = (20, 2, 3)
FACES = (2, 3, 2, 2)


def draw_chair(model, elevation, azimuth):
    """A white 600×600 image whose dark block tells chairs and views apart."""
    image = np.full((600, 600, 3), 255, np.uint8)
    image[150 + 10 * model :, 120 + 61 * azimuth : 167 + 61 * azimuth] = (40, 80, 99 * elevation)
    return image


def view_name(model, elevation, azimuth):
    file = f"image_{azimuth:03}_p0{20 + 10 * elevation}_t{11 * azimuth:03}_r096.png"
    return f"rendered_chairs/{model:02x}ab/renders/{file}"


@pytest.fixture(scope="module")
def chairs(tmp_path_factory):
    """A manual_dir with the extracted archive."""
    root = tmp_path_factory.mktemp("chairs")
    for factors in np.ndindex(CHAIRS):
        path = root / view_name(*factors)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_chair(*factors)).save(path)
    (root / "rendered_chairs" / "all_chair_names.mat").write_bytes(b"not an image")
    return root


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """A manual_dir with the array as .npy."""
    root = tmp_path_factory.mktemp("faces")
    np.save(root / "basel_face_renders.npy", faces_array())
    return root


def faces_array(counts=FACES):
    return np.random.default_rng(0).integers(0, 256, (*counts, 64, 64), np.uint8)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(Chairs, "MODELS", CHAIRS[0])
    monkeypatch.setattr(Chairs, "AZIMUTHS", CHAIRS[2])
    monkeypatch.setattr(Faces3d, "COUNTS", FACES)


def prepare(builder, manual_dir, data_dir):
    data_dir.mkdir(exist_ok=True)
    config = tfds.download.DownloadConfig(manual_dir=manual_dir)
    builder(data_dir=data_dir).download_and_prepare(download_config=config)


def gather(name, split, data_dir):
    batches = list(
        datasets.load(
            name,
            split,
            batch_size=7,
            data_dir=data_dir,
            with_labels=True,
            as_uint8=True,
            shuffle=False,
            drop_remainder=False,
        )
    )
    return tuple(np.concatenate([batch[member] for batch in batches]) for member in (0, 1))


def pack(source, archive):
    with tarfile.open(archive, "w") as tar:
        tar.add(source / "rendered_chairs", "rendered_chairs")


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_chairs_are_cropped_grey_and_reduced_and_no_chair_is_in_two_splits(form, chairs, tmp_path):
    manual = chairs
    if form == "archive":
        manual = tmp_path / "manual"
        manual.mkdir()
        pack(chairs, manual / "rendered_chairs.tar")
    prepare(Chairs, manual, tmp_path / "data")
    assert datasets.info("chairs", tmp_path / "data").splits == {
        "train": 108,
        "validation": 6,
        "test": 6,
    }
    seen = []
    for split in ("train", "validation", "test"):
        images, labels = gather("chairs", split, tmp_path / "data")
        assert images.shape[1:] == (64, 64, 1)
        seen.append(set(labels[:, 0]))
        for image, factors in zip(images[:6], labels[:6], strict=True):
            crop = draw_chair(*factors)[100:500, 100:500].astype(float)
            grey = np.floor(crop @ [0.299, 0.587, 0.114] + 0.5 + 1e-9)[..., np.newaxis]
            np.testing.assert_allclose(image, area_reduce(grey, 64), atol=0.5 + 1e-9)
    assert sum(map(len, seen)) == len(set.union(*seen)) == 20


def test_a_served_chair_is_the_one_trained_on(chairs, tmp_path):
    prepare(Chairs, chairs, tmp_path / "data")
    images, labels = gather("chairs", "test", tmp_path / "data")
    contents = [(chairs / view_name(*factors)).read_bytes() for factors in labels]
    served = datasets.preprocessing.from_bytes(contents, datasets.recipe("chairs"))
    np.testing.assert_array_equal(served, datasets.scale(images))


def test_faces_come_with_their_factors_from_an_array(faces, tmp_path):
    prepare(Faces3d, faces, tmp_path / "data")
    images, labels = (
        np.concatenate(parts)
        for parts in zip(
            *(gather("faces3d", split, tmp_path / "data") for split in ("train", "validation")),
            strict=True,
        )
    )
    assert len(images) == 23
    assert len(np.unique(labels, axis=0)) == 23
    for image, factors in zip(images, labels, strict=True):
        np.testing.assert_array_equal(image[..., 0], faces_array()[tuple(factors)])


def test_faces_come_from_images_too(tmp_path):
    folder = tmp_path / "manual" / "basel_face_renders" / "64"
    folder.mkdir(parents=True)
    for factors in np.ndindex(FACES):
        image = Image.fromarray(faces_array()[factors])
        image.resize((128, 128), Image.Resampling.NEAREST).save(
            folder / ("_".join(map(str, factors)) + ".png")
        )
    prepare(Faces3d, tmp_path / "manual", tmp_path / "data")
    images, labels = gather("faces3d", "train", tmp_path / "data")
    np.testing.assert_array_equal(images[..., 0], faces_array()[tuple(labels.T)])
    (folder / "1_2_1_1.png").unlink()
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(ValueError, match="Received 23: half extracted"):
        prepare(Faces3d, tmp_path / "manual", tmp_path / "data")


@pytest.mark.parametrize("new", [True, False])
def test_faces_come_from_the_file_that_torch_saved(new, tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "basel_face_renders.pth"
    torch.save(torch.from_numpy(faces_array()), path, _use_new_zipfile_serialization=new)
    with path.open("rb") as file:
        np.testing.assert_array_equal(torch_file.read(file), faces_array())
    path.write_bytes(path.read_bytes()[:-1000])
    with path.open("rb") as file, pytest.raises(ValueError, match="not a file with one uint8"):
        torch_file.read(file)


def test_a_pickle_that_would_run_something_runs_nothing(tmp_path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    content = io.BytesIO(pickle.dumps(Harmful()))
    with pytest.raises(ValueError, match=r"it asks for posix\.mkdir"):
        torch_file.read(content)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "array", [faces_array()[:1], faces_array().astype(np.float32), np.array([None], object)]
)
def test_another_array_is_refused(array, tmp_path):
    np.save(tmp_path / "basel_face_renders.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=r"basel_face_renders\.npy"):
        prepare(Faces3d, tmp_path, tmp_path / "data")


@pytest.mark.parametrize("kind", ["npz", "header"])
def test_what_is_no_whole_array_is_refused(kind, tmp_path):
    path = tmp_path / "basel_face_renders.npy"
    with path.open("wb") as file:
        (np.savez if kind == "npz" else np.save)(file, faces_array())
    if kind == "header":
        # An opening bracket in place of the dictionary's closing one.
        path.write_bytes(path.read_bytes().replace(b"}", b"{", 1))
    with pytest.raises(ValueError, match=r"basel_face_renders\.npy: not a whole \.npy array"):
        prepare(Faces3d, tmp_path, tmp_path / "data")


def hostile(tar, change):
    """Adds what no archive of renders holds."""
    name = view_name(1, 1, 1)
    member = tarfile.TarInfo(name)
    if change == "link":
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    elif change == "parent":
        member.name = f"../{name}"
    elif change == "huge":
        member.size = 2**24
    content = b"\0" * member.size
    if change == "text":
        content = b"no image"
    elif change in ("small", "parent"):
        stream = io.BytesIO()
        Image.new("RGB", (10, 10)).save(stream, "PNG")
        content = stream.getvalue()
    elif change == "broken":
        stream = io.BytesIO()
        Image.fromarray(draw_chair(1, 1, 1)).save(stream, "PNG")
        content = stream.getvalue()[:-200]
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


HOSTILE = {
    "link": "is not a regular file inside it",
    "parent": "is not a regular file inside it",
    "huge": "16777216 bytes, more than 8388608",
    "text": "is not a PNG image",
    "small": "has 10×10 pixels",
    "broken": "cannot be decoded",
    "missing": r"Received 119 images of 20 chairs, 2 elevations, 3 azimuths: half extracted",
    "twice": "are the same view",
    "cut": "not a whole uncompressed tar archive|cut short|half extracted",
    "gzip": "not a whole uncompressed tar archive",
}


@pytest.mark.parametrize("change", HOSTILE)
def test_a_hostile_or_damaged_archive_is_refused_and_leaves_nothing(change, chairs, tmp_path):
    archive = tmp_path / "rendered_chairs.tar"
    with tarfile.open(archive, "w:gz" if change == "gzip" else "w") as tar:
        for factors in np.ndindex(CHAIRS):
            if factors != (1, 1, 1) or change in ("twice", "cut", "gzip"):
                tar.add(chairs / view_name(*factors), view_name(*factors))
        if change == "twice":
            tar.add(chairs / view_name(2, 1, 1), "./copy/02ab/renders/image_9_p030_t011_r096.png")
            tar.add(chairs / view_name(2, 1, 1), "copy/02ab/renders/image_009_p030_t011_r096.png")
        elif change not in ("missing", "cut", "gzip"):
            hostile(tar, change)
    if change == "cut":
        archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(ValueError, match=HOSTILE[change]):
        prepare(Chairs, tmp_path, tmp_path / "data")
    with pytest.raises(ValueError, match=r"to get it run: python -m trainers\.prepare"):
        datasets.check("chairs", tmp_path / "data")


BAD = {
    "": "dataset",
    "--dataset=cifar10": "'chairs', 'faces3d'",
    "--dataset=chairs": "manual_dir",
    "--dataset=chairs --manual_dir=nowhere": "existing directory",
    "--dataset=chairs --manual_dir=. stray": "stray",
}


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_is_one_line_and_status_2_without_tensorflow(arguments, tmp_path):
    result = run_program("prepare", *arguments.split(), directory=tmp_path, without_tensorflow=True)
    assert_refused(result, BAD[arguments])


def test_the_program_says_what_is_missing(chairs, tmp_path):
    result = run_program(
        "prepare",
        "--dataset=chairs",
        f"--manual_dir={chairs}",
        f"--data_dir={tmp_path}",
        directory=tmp_path,
    )
    assert_refused(result, "expected 1393 chairs × 2 elevations × 31 azimuths")
