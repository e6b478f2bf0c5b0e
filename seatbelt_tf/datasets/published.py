"""The TFDS datasets by name: what is in them, how they are cut, what they ask for.

Splits. Where TFDS has no validation split, ours is the last tenth of TFDS's train split, in the
order of the files (TFDS has shuffled them by hash when writing). dsprites and faces3d have train
alone: the first 90 % are our train split, then 5 % validation, 5 % test. chairs is split by model,
so that no chair is in two splits. All splits are disjoint.

Preprocessing (see `preprocessing`). `celeb_a`: the central 148×148 of the aligned 218×178 images
(35 rows off the top and bottom, 15 columns off the sides: the crop used by most CelebA generative
models since Larsen et al. 2016), reduced to 64×64 by area. `dsprites`: 0 and 1 become 0 and 255.
`chairs`: the central 400×400 of 600×600, as widely used disentanglement code has it (Kulkarni et
al. 2015 do not say how they cropped), grey, 64×64. The others as they are. Pixels are rounded to
bytes before caching.
"""

import os
from typing import ClassVar

from seatbelt_tf.datasets.prepared import data_directory
from seatbelt_tf.datasets.registry import register
from seatbelt_tf.datasets.sprites import FACTORS
from seatbelt_tf.datasets.tfds_images import TFDSImages

_ALL_THREE = {
    "train": ("train", 0, 1),
    "validation": ("validation", 0, 1),
    "test": ("test", 0, 1),
}
_LAST_TENTH = {
    "train": ("train", 0, 0.9),
    "validation": ("train", 0.9, 1),
    "test": ("test", 0, 1),
}
_TRAIN_ALONE = {
    "train": ("train", 0, 0.9),
    "validation": ("train", 0.9, 0.95),
    "test": ("train", 0.95, 1),
}
_DSPRITES_COLUMNS = ("shape", "scale", "orientation", "x_position", "y_position")
CHAIRS_CROP = 400


@register
class CIFAR10(TFDSImages):
    """CIFAR-10: 60,000 colour photographs in 10 classes."""

    name = "cifar10"
    shape = (32, 32, 3)
    image_sizes = (32,)
    published: ClassVar = {"train": 50_000, "test": 10_000}
    parts = _LAST_TENTH
    label_names = (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    )  # fmt: skip
    origin = "Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html"
    licence = "none stated by the authors; made for research"


@register
class SVHNCropped(TFDSImages):
    """SVHN, cropped digits: 99,289 colour photographs of house numbers, without `extra`."""

    name = "svhn_cropped"
    shape = (32, 32, 3)
    image_sizes = (32,)
    published: ClassVar = {"train": 73_257, "test": 26_032, "extra": 531_131}
    parts = _LAST_TENTH
    label_names = tuple("0123456789")
    origin = "Netzer et al. 2011, http://ufldl.stanford.edu/housenumbers/"
    licence = "non-commercial use only"


@register
class CelebA(TFDSImages):
    """CelebA, aligned: 202,599 faces with 40 binary attributes."""

    name = "celeb_a"
    shape = (64, 64, 3)
    image_sizes = (64, 32)
    crop = 148
    published: ClassVar = {"train": 162_770, "validation": 19_867, "test": 19_962}
    parts = _ALL_THREE
    label_names = (
        "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald",
        "Bangs", "Big_Lips", "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair",
        "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses", "Goatee", "Gray_Hair",
        "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache",
        "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose",
        "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling", "Straight_Hair",
        "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick",
        "Wearing_Necklace", "Wearing_Necktie", "Young",
    )  # fmt: skip
    label_shape = (40,)
    origin = "Liu et al. 2015, http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
    licence = "non-commercial research only"

    def label(self, example):
        return _stacked(example["attributes"], self.label_names)


@register
class DSprites(TFDSImages):
    """dSprites, the original files; `sprites` is our rendering of the same factor grid."""

    name = "dsprites"
    shape = (64, 64, 1)
    image_sizes = (64, 32)
    binarise = True
    published: ClassVar = {"train": 737_280}
    parts = _TRAIN_ALONE
    factors: ClassVar = dict(FACTORS)
    label_shape = (5,)
    origin = "Matthey et al. 2017, https://github.com/google-deepmind/dsprites-dataset"
    licence = (
        "see the LICENSE of that repository (Apache-2.0 according to copies of the dataset); the "
        "images were drawn with LÖVE, zlib/libpng licence"
    )

    def label(self, example):
        return _stacked(example, [f"label_{name}" for name in _DSPRITES_COLUMNS])


class _Manual(TFDSImages):
    """A dataset that the user brings, prepared by a builder of ours (see `builders`).

    Prepared at 64×64, so there is no other size: a second reduction would round twice.
    """

    shape = (64, 64, 1)
    image_sizes = (64,)
    files: str

    def how_to_get(self, data_dir):
        directory = os.fspath(data_directory(data_dir))
        return (
            f"python -m trainers.prepare --dataset={self.name} --data_dir={directory} "
            f"--manual_dir=DIR, where DIR holds {self.files}"
        )

    def label(self, example):
        return _stacked(example, self.factors)


@register
class Chairs(_Manual):
    """Rendered chairs: 1,393 models × 2 elevations × 31 azimuths."""

    name = "chairs"
    crop = CHAIRS_CROP
    published: ClassVar = {"train": 1_255 * 62, "validation": 69 * 62, "test": 69 * 62}
    parts = _ALL_THREE
    factors: ClassVar = {"model": 1393, "elevation": 2, "azimuth": 31}
    label_shape = (3,)
    origin = "Aubry et al. 2014, https://www.di.ens.fr/willow/research/seeing3Dchairs/"
    licence = "none stated on the project's page; made for research"
    files = "rendered_chairs.tar from that page, or the folder rendered_chairs extracted from it"


@register
class Faces3D(_Manual):
    """Renders of the Basel face model: 50 identities, 21 azimuths, 11 elevations, 11 lightings."""

    name = "faces3d"
    published: ClassVar = {"train": 50 * 21 * 11 * 11}
    parts = _TRAIN_ALONE
    factors: ClassVar = {"identity": 50, "azimuth": 21, "elevation": 11, "lighting": 11}
    label_shape = (4,)
    origin = "Paysan et al. 2009, https://faces.dmi.unibas.ch/bfm/, as rendered by Chen et al. 2018"
    licence = "the Basel face model's: research only, no redistribution"
    files = (
        "basel_face_renders.pth (or the same array as .npy), or a folder or .tar "
        "basel_face_renders of images IDENTITY_AZIMUTH_ELEVATION_LIGHTING.png"
    )


def _stacked(example, columns):
    import tensorflow as tf

    return tf.cast(tf.stack([example[column] for column in columns]), tf.int32)
