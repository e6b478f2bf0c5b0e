"""Every public name has a docstring, with shapes where it takes arrays, types, a test and a page.

Public are the modules that the reference is built of and those that they export, what these export
(or, without `__all__`, define), and the public methods of the classes.
"""

import ast
import contextlib
import enum
import importlib
import inspect
import re
import runpy
import subprocess
import sys
import types

import pytest
from programs import ROOT

from seatbelt_tf import datasets
from seatbelt_tf.attacks import objectives
from seatbelt_tf.datasets import registry
from seatbelt_tf.defences import base, settings

MODULES = runpy.run_path(str(ROOT / "docs" / "build_reference.py"))["MODULES"]
# Any other parameter is taken for an array, so that a new one has to be thought about.
NO_ARRAYS = """
address ancestors args as_uint8 batch_size beta binarise bins block_size bound bounds channels
chunk_size code columns confidence config contents count crop damage data_dir dataset_size decoder
defaults defences distortion_scale draws drop_remainder encoder estimator factors figure
fingerprint fired found free_bits how_to_get image_shape image_size inference input_shape
kl_estimator kwargs latent_dims latent_scale layers leapfrog_steps licence likelihood_from
likelihood_scale limit log max_bytes max_evaluations max_unreadable meaning memory message model
name notes objective optimizer option_checks options origin overwrite part parts path paths
penalty prefix probability repeat report restarts result retries row scale seed self share shown
shuffle signature source split splits squared_norm start_step starts step step_size steps
tc_estimator text timeout title tolerance training units value value_and_gradients version victim
wait with_labels ylabel
"""
# (M, d), (B,), (..., d), (d_1, …), () and the like, but not the (0, I) of a normal distribution.
SHAPE = re.compile(r"(?<!\w)\((?!0,)(?:[\w·Σ+ ^]+,[\w·Σ+ ^,…]*|\.\.\.(?:, \w+)?|)\)")


def _modules():
    """The modules that are public, by name."""
    found, waiting = {}, [importlib.import_module(name) for name in MODULES]
    while waiting:
        module = waiting.pop(0)
        found[module.__name__] = module
        exported = [getattr(module, name) for name in getattr(module, "__all__", ())]
        waiting += [x for x in exported if isinstance(x, types.ModuleType)]
    return found


def _members():
    """Everything public by dotted name: (object, page of the reference, anchor there)."""
    found = {}
    for path, module in _modules().items():
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
REGISTERED = {
    **{name: objectives.find(name) for name in objectives.names()},
    **{name: base.find(name) for name in settings.DEFAULTS},
    **{name: type(registry.find(name)) for name in datasets.names()},
}


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


class _Uses(ast.NodeVisitor):
    """What the tests use: this project's objects, names of attributes, and strings."""

    def __init__(self):
        self.objects, self.attributes, self.strings = [], set(), set()
        self._known = {}

    def read(self, path):
        self._known = {}
        self.visit(ast.parse(path.read_text()))

    def visit_ImportFrom(self, node):
        if node.module.split(".")[0] in ("seatbelt_tf", "export"):
            module = importlib.import_module(node.module)
            for name in node.names:
                if not hasattr(module, name.name):
                    importlib.import_module(f"{node.module}.{name.name}")
                self._known[name.asname or name.name] = getattr(module, name.name)
            self.objects += [self._known[name.asname or name.name] for name in node.names]

    def visit_Import(self, node):
        for name in node.names:
            if name.name == "seatbelt_tf":
                self._known[name.name] = importlib.import_module(name.name)

    def visit_Attribute(self, node):
        self.attributes.add(node.attr)
        self.objects.append(self._value(node))
        self.generic_visit(node)

    def visit_Constant(self, node):
        if isinstance(node.value, str):
            self.strings.add(node.value)
            # Programs that tests run in a process of their own.
            if "import seatbelt_tf" in node.value or "from seatbelt_tf" in node.value:
                with contextlib.suppress(SyntaxError):
                    self.visit(ast.parse(node.value))

    def _value(self, node):
        if isinstance(node, ast.Attribute):
            return getattr(self._value(node.value), node.attr, None)
        return self._known.get(node.id) if isinstance(node, ast.Name) else None


@pytest.fixture(scope="module")
def uses():
    found = _Uses()
    for path in sorted((ROOT / "tests").rglob("*.py")):
        found.read(path)
    return found


def _is_used(name, member, uses):
    """Whether a test imports it, reaches it as an attribute of its module, or as said below."""
    if any(member is used for used in uses.objects):
        return True
    *_, owner, last = name.split(".")
    if owner[0].isupper():
        # Of what class an object is cannot be read off a test. Keras calls two of the methods, and
        # the model a defence's hooks.
        return last in uses.attributes | {"call", "train_step"} | set(settings.HOOKS)
    if not inspect.isclass(member):
        return False
    # A class is used by the name that it is registered under, through its subclasses, and, when
    # it is what functions return, by its fields.
    names = {name for name, value in REGISTERED.items() if issubclass(value, member)}
    subclasses = [used for used in uses.objects if inspect.isclass(used)]
    fields = getattr(member, "_fields", ())
    return (
        bool(names & uses.strings)
        or any(issubclass(used, member) for used in subclasses)
        or (bool(fields) and set(fields) <= uses.attributes)
    )


@pytest.mark.parametrize("name", MEMBERS)
def test_it_has_a_docstring(name):
    assert inspect.getdoc(MEMBERS[name][0])


@pytest.mark.parametrize("name", [name for name, (member, *_) in MEMBERS.items() if _takes(member)])
def test_its_docstring_states_the_shapes_of_arrays(name):
    member = MEMBERS[name][0]
    arrays = set(inspect.signature(member).parameters) - set(NO_ARRAYS.split())
    text = inspect.getdoc(member)
    # An override may leave them to what it overrides.
    has_shapes = SHAPE.search(text) or re.fullmatch(r"See `[\w.]+`\.", text)
    assert not arrays or has_shapes, f"{name} takes {arrays}"


@pytest.mark.parametrize("name", [name for name, (member, *_) in MEMBERS.items() if _takes(member)])
def test_its_arguments_and_its_result_have_types(name):
    member = MEMBERS[name][0]
    functions = [member] if not inspect.isclass(member) else [member.__init__, member.__call__]
    for function in functions:
        # Of a class, what it has of this project: the rest is typed, or not, by others.
        if getattr(function, "__module__", "").split(".")[0] in ("seatbelt_tf", "export"):
            signature = inspect.signature(function)
            parts = [x.annotation for x in signature.parameters.values() if x.name != "self"]
            assert inspect.Signature.empty not in [*parts, signature.return_annotation], function


# Modules are used when what is in them is.
@pytest.mark.parametrize(
    "name", [x for x, (member, *_) in MEMBERS.items() if not isinstance(member, types.ModuleType)]
)
def test_some_test_uses_it(name, uses):
    assert _is_used(name, MEMBERS[name][0], uses)


@pytest.mark.parametrize("name", MEMBERS)
def test_it_is_in_the_reference(name, reference):
    _, page, anchor = MEMBERS[name]
    assert f'id="{anchor}"' in (reference / page).read_text() or not anchor
