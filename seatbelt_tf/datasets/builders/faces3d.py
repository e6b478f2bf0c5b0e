"""TFDS builder of renders of the Basel face model (Paysan et al. 2009), 64×64 and grey."""

import tokenize

import numpy as np
import tensorflow_datasets as tfds

from seatbelt_tf.datasets import preprocessing, published
from seatbelt_tf.datasets.builders import renders, torch_file

_FACE = r"(?:[^/]+/)*?(\d+)_(\d+)_(\d+)_(\d+)\.png"
_ARRAYS = ("basel_face_renders.pth", "basel_face_renders.npy")
_IMAGES = ("basel_face_renders.tar", "basel_face_renders")


class Faces3d(tfds.core.GeneratorBasedBuilder):
    """50 identities × 21 azimuths × 11 elevations × 11 lightings."""

    name = "faces3d"
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""
    The face model's licence forbids passing its renders on. manual_dir must hold one of
    {", ".join(_ARRAYS)}: uint8 (50, 21, 11, 11, 64, 64), identity, azimuth, elevation, lighting,
    the file that disentanglement code reads (the .pth is read without running anything in it);
    {", ".join(_IMAGES)}: grey square PNGs IDENTITY_AZIMUTH_ELEVATION_LIGHTING.png, counted from 0,
    at least 64×64. No checksum is published; what is checked is that no face is missing.
    """
    COUNTS = tuple(published.Faces3D.factors.values())
    # TFDS would find it through a package that it does not install.
    code_path = tfds.core.Path(__file__)

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description=published.Faces3D.__doc__,
            homepage="https://faces.dmi.unibas.ch/bfm/",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=published.Faces3D.shape),
                    **dict.fromkeys(published.Faces3D.factors, np.int32),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(dl_manager.manual_dir)}

    def _generate_examples(self, manual_dir):
        for factors, image in self._faces(manual_dir):
            yield (
                "-".join(f"{factor:02d}" for factor in factors),
                {"image": image, **dict(zip(published.Faces3D.factors, factors, strict=True))},
            )

    def _faces(self, manual_dir):
        for name in _ARRAYS:
            if (manual_dir / name).exists():
                return self._from_array(manual_dir / name)
        for name in _IMAGES:
            if (manual_dir / name).exists():
                return self._from_images(manual_dir / name)
        raise ValueError(f"Expected one of {', '.join(_ARRAYS + _IMAGES)} in {manual_dir}")

    def _from_array(self, path):
        with path.open("rb") as file:
            faces = torch_file.read(file) if path.suffix == ".pth" else _numpy_array(file, path)
        wanted = (*self.COUNTS, 64, 64)
        if faces.dtype != np.uint8 or faces.shape not in (wanted, (np.prod(self.COUNTS), 64, 64)):
            raise ValueError(
                f"{path}: expected uint8 of shape {wanted}. "
                f"Received {faces.dtype} of shape {faces.shape}"
            )
        faces = faces.reshape(wanted)
        for factors in np.ndindex(self.COUNTS):
            yield factors, faces[factors][..., np.newaxis]

    def _from_images(self, path):
        decode = preprocessing.decoder(preprocessing.recipe(1, published.Faces3D.shape[0]))
        faces = {tuple(map(int, face.groups)): face for face in renders.renders(path, _FACE)}
        if set(faces) != set(np.ndindex(self.COUNTS)):
            raise ValueError(
                f"{path}: expected {np.prod(self.COUNTS)} images, one for each of {self.COUNTS} "
                f"factor values. Received {len(faces)}: half extracted, or numbered otherwise"
            )
        for factors, face in faces.items():
            content = face.read()
            renders.require_png(content, None, face.name)
            yield factors, decode(content, face.name)


def _numpy_array(file, path):
    try:
        # `np.load` would open an .npz, too.
        return np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError, OSError, tokenize.TokenError) as error:
        raise ValueError(f"{path}: not a whole .npy array ({error})") from error
