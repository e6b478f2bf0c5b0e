"""TFDS builder of the rendered chairs of Aubry et al. (2014), 64×64 and grey."""

import numpy as np
import tensorflow_datasets as tfds

from seatbelt_tf.datasets import preprocessing, published
from seatbelt_tf.datasets.builders import renders
from seatbelt_tf.datasets.order import permutation

_VIEW = r"(?:[^/]+/)*?([0-9A-Za-z_-]+)/renders/image_\d{3}_p(\d{3})_t(\d{3})_r\d{3}\.png"
_SPLIT_SEED = 2014


class Chairs(tfds.core.GeneratorBasedBuilder):
    """1,393 chairs seen from 2 elevations × 31 azimuths, split by chair."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""
    manual_dir must hold rendered_chairs.tar from {published.Chairs.origin} (as it is, uncompressed)
    or the folder rendered_chairs extracted from it. Its authors publish no checksum; what is
    checked is that every chair has every view, 600×600, and that every PNG's own checksums hold.
    """
    MODELS, ELEVATIONS, AZIMUTHS = published.Chairs.factors.values()
    RENDER_SIZE = (600, 600)
    # TFDS would find it through a package that it does not install.
    code_path = tfds.core.Path(__file__)

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description=published.Chairs.__doc__,
            homepage="https://www.di.ens.fr/willow/research/seeing3Dchairs/",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=published.Chairs.shape),
                    **dict.fromkeys(published.Chairs.factors, np.int32),
                    "model_id": tfds.features.Text(),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        views = _complete(
            _source(dl_manager.manual_dir), (self.MODELS, self.ELEVATIONS, self.AZIMUTHS)
        )
        order = permutation(self.MODELS, _SPLIT_SEED)
        held_out = self.MODELS // 20
        parts = {
            "train": order[: -2 * held_out],
            "validation": order[-2 * held_out : -held_out],
            "test": order[-held_out:],
        }
        return {split: self._generate_examples(views, set(part)) for split, part in parts.items()}

    def _generate_examples(self, views, models):
        decode = preprocessing.decoder(
            preprocessing.recipe(1, published.Chairs.shape[0], published.CHAIRS_CROP)
        )
        for factors, view in views:
            if factors[0] in models:
                content = view.read()
                renders.require_png(content, self.RENDER_SIZE, view.name)
                yield (
                    "-".join(view.groups),
                    {
                        "image": decode(content, view.name),
                        **dict(zip(published.Chairs.factors, factors, strict=True)),
                        "model_id": view.groups[0],
                    },
                )


def _source(manual_dir):
    """The archive, or the folder, where the user put it."""
    for name in ("rendered_chairs.tar", "rendered_chairs"):
        if (manual_dir / name).exists():
            return manual_dir / name
    if any(manual_dir.glob("*/renders")):
        return manual_dir
    raise ValueError(f"Expected rendered_chairs.tar or rendered_chairs in {manual_dir}")


def _complete(path, counts):
    """[(factor indices, view)] of a set without gaps; ValueError says what is missing."""
    views = renders.renders(path, _VIEW)
    values = [sorted(set(column)) for column in zip(*(view.groups for view in views), strict=True)]
    found = tuple(map(len, values)) or (0, 0, 0)
    if found != counts or len(views) != np.prod(counts):
        raise ValueError(
            f"{path}: expected {counts[0]} chairs × {counts[1]} elevations × {counts[2]} azimuths, "
            f"{np.prod(counts)} images. Received {len(views)} images of {found[0]} chairs, "
            f"{found[1]} elevations, {found[2]} azimuths: half extracted, or another archive"
        )
    ranks = [{value: rank for rank, value in enumerate(column)} for column in values]
    return [
        (tuple(rank[group] for rank, group in zip(ranks, view.groups, strict=True)), view)
        for view in views
    ]
