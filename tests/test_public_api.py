"""Every public name has a docstring, with shapes where it takes arrays, a test and a reference.

Public is what `seatbelt_tf` and its subpackages export, the public functions and classes of the
modules among it, the serving client, and the public methods of the classes.
"""

import enum
import importlib
import inspect
import re
import subprocess
import sys
import types

import pytest
from programs import ROOT

PACKAGES = ("", ".attacks", ".datasets", ".evaluation", ".figures")
# Any other parameter is taken for an array, so that a new one has to be thought about.
NO_ARRAYS = """
address ancestors args as_uint8 batch_size beta binarise block_size bounds channels chunk_size
code columns confidence config contents count crop damage data_dir dataset_size decoder defences
distortion_scale draws drop_remainder encoder estimator factors figure fingerprint
free_bits how_to_get image_shape image_size inference input_shape kl_estimator kwargs
latent_dims layers licence likelihood_from likelihood_scale log max_bytes max_evaluations
max_unreadable memory message model name notes objective optimizer options overwrite part parts path
paths penalty repeat restarts retries row scale seed self shown shuffle signature source split
splits squared_norm start_step starts step steps tc_estimator text timeout title tolerance
training units value value_and_gradients version victim wait with_labels ylabel
"""
# (M, d), (B,), (..., d), (d_1, …), () and the like, but not the (0, I) of a normal distribution.
SHAPE = re.compile(r"(?<!\w)\((?!0,)(?:[\w·Σ+ ^]+,[\w·Σ+ ^,…]*|\.\.\.(?:, \w+)?|)\)")


def _members():
    """Everything public by dotted name: (object, page of the reference, anchor there)."""
    packages = [importlib.import_module(f"seatbelt_tf{name}") for name in PACKAGES]
    exported = [getattr(package, name) for package in packages for name in package.__all__]
    exported += [packages[0], importlib.import_module("export.client")]
    modules = {
        member.__name__: member for member in exported if isinstance(member, types.ModuleType)
    }
    found = {}
    for path, module in modules.items():
        page = f"{path.replace('.', '/')}.html"
        found[path] = (module, page, "")
        own = [name for name, x in vars(module).items() if getattr(x, "__module__", "") == path]
        for name in getattr(module, "__all__", own):
            member = getattr(module, name)
            if name.startswith("_") or isinstance(member, types.ModuleType):
                continue
            found[f"{path}.{name}"] = (member, page, name)
            kinds = (types.FunctionType, classmethod, staticmethod, property)
            for method, value in _methods(member) if inspect.isclass(member) else ():
                if isinstance(value, kinds) and not method.startswith("_"):
                    own_id = f"{name}.{method}"
                    found[f"{path}.{own_id}"] = (getattr(member, method), page, own_id)
    return found


def _methods(member):
    """What a class has of this project, its own and inherited: (name, value) pairs."""
    own = [
        base
        for base in member.__mro__
        if base.__module__.split(".")[0] in ("seatbelt_tf", "export")
    ]
    return {name: value for base in reversed(own) for name, value in vars(base).items()}.items()


MEMBERS = _members()


def _takes(member):
    """Whether a member has parameters of its own."""
    return callable(member) and not isinstance(member, enum.EnumType)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    pytest.importorskip("pdoc", reason="it builds the reference")
    directory = tmp_path_factory.mktemp("reference")
    built = subprocess.run(
        [sys.executable, ROOT / "docs" / "build_reference.py", directory],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return directory


@pytest.fixture(scope="module")
def words_of_tests():
    texts = [path.read_text() for path in (ROOT / "tests").rglob("*.py")]
    text = "\n".join(texts)
    # Of something, or imported: a name in prose or of a variable is no use.
    imported = "\n".join(re.findall(r"import (.*)", text))
    return set(re.findall(r"\.(\w+)", text)) | set(re.findall(r"\w+", imported))


@pytest.mark.parametrize("name", MEMBERS)
def test_it_has_a_docstring(name):
    assert inspect.getdoc(MEMBERS[name][0])


@pytest.mark.parametrize("name", [name for name, (member, *_) in MEMBERS.items() if _takes(member)])
def test_its_docstring_states_the_shapes_of_arrays(name):
    member = MEMBERS[name][0]
    arrays = set(inspect.signature(member).parameters) - set(NO_ARRAYS.split())
    text = inspect.getdoc(member)
    assert not arrays or SHAPE.search(text), f"{name} takes {arrays}"


@pytest.mark.parametrize("name", MEMBERS)
def test_some_test_uses_it(name, words_of_tests):
    # Keras calls this one.
    assert name.split(".")[-1] in words_of_tests | {"call"}


@pytest.mark.parametrize("name", MEMBERS)
def test_it_is_in_the_reference(name, reference):
    _, page, anchor = MEMBERS[name]
    assert f'id="{anchor}"' in (reference / page).read_text() or not anchor
