"""Datasets as the programs meet them: listed, refused, and held to what a run recorded."""

import pytest
from programs import assert_refused, run_program

from seatbelt_tf import datasets
from trainers import batteries, splits

SPRITES = {"name": "sprites", "image_size": 32, "data_dir": None}


def test_list_datasets_describes_every_dataset_without_tensorflow(tmp_path):
    result = run_program("train", "--list_datasets", directory=tmp_path, without_tensorflow=True)
    assert (result.returncode, result.stderr) == (0, "")
    for name in datasets.names():
        info = datasets.info(name)
        (paragraph,) = (
            part for part in result.stdout.split("\n\n") if part.startswith(f"{name}\n")
        )
        assert f"train {info.splits['train']:,}" in paragraph
        assert info.licence in paragraph
        assert info.source in paragraph
        assert info.how_to_get.split(" ")[0] in paragraph
    assert "folder:PATH" in result.stdout


BAD = {
    "--dataset=swiss_roll": "convolutional",
    "--dataset=folder:nowhere": "existing folder",
    "--dataset=folder:": "existing folder",
    "--dataset=folder:empty": "a folder with images",
    "--dataset=folders:x": "folder:PATH",
    "--max_unreadable=-1": "max_unreadable",
    "--max_unreadable=1": "Expected 0 for sprites",
    "--dataset=chairs": "trainers.prepare --dataset=chairs",
    "--dataset=faces3d --data_dir=.": "basel_face_renders.pth",
}


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_is_one_line_and_status_2_without_tensorflow(arguments, tmp_path):
    (tmp_path / "empty").mkdir()
    result = run_program("train", *arguments.split(), directory=tmp_path, without_tensorflow=True)
    assert_refused(result, BAD[arguments])
    assert result.stdout in ("", "reading the folder …\n")


def test_a_run_is_held_to_its_preprocessing():
    recorded = {**SPRITES, "preprocessing": datasets.recipe("sprites", 32)}
    assert next(iter(splits.batches(recorded, "test", batch_size=2))).shape == (2, 32, 32, 1)
    recorded["preprocessing"]["crop"] = 16
    with pytest.raises(ValueError, match="Invalid value for preprocessing"):
        splits.batches(recorded, "test", batch_size=2)


def test_a_run_is_neither_resumed_on_other_images_nor_attacked_with_them():
    splits.check_same_images({**SPRITES, "fingerprint": None})
    with pytest.raises(ValueError, match="fingerprint 123"):
        splits.check_same_images({**SPRITES, "fingerprint": "123"})
    with pytest.raises(ValueError, match="fingerprint 123"):
        batteries.pairs({**SPRITES, "fingerprint": "123"}, 2, 0)
