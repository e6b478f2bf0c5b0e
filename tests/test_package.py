"""What importing the package does and does not do."""

import subprocess
import sys


def test_import_is_silent_loads_no_tensorflow_and_works_from_any_directory(tmp_path):
    code = "import seatbelt_tf, sys; sys.exit('tensorflow' in sys.modules)"
    for option in ("default", "error"):
        result = subprocess.run(
            [sys.executable, "-W", option, "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_module_that_the_model_needs_can_be_the_first_to_be_imported():
    # It imports Keras, which imports the model, which needs the module.
    result = subprocess.run(
        [sys.executable, "-c", "import seatbelt_tf.networks"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_every_public_name_can_be_imported():
    import seatbelt_tf

    assert dir(seatbelt_tf) == sorted(seatbelt_tf.__all__)
    for name in seatbelt_tf.__all__:
        assert getattr(seatbelt_tf, name) is not None
