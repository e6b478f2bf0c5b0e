"""TFDS builders of the datasets that users must bring themselves.

Importing this package registers `chairs` and `faces3d` with TFDS, so that `tfds.load` knows them;
`python -m trainers.prepare` is the same on the command line.
"""

from seatbelt_tf.datasets.builders.chairs import Chairs
from seatbelt_tf.datasets.builders.faces3d import Faces3d

BUILDERS = {builder.name: builder for builder in (Chairs, Faces3d)}

__all__ = ["BUILDERS", "Chairs", "Faces3d"]
