"""What the sources raise and warn of, read from them; … stands for what differs."""

import ast
import itertools
import re

# Besides all errors; `report` tells of checkpoints, `print` counts if it warns.
CALLS = {"invalid", "stop", "fail", "warn", "report", "print", "Assert"}
# Of these the first argument is a name, a code or a condition: the second is said.
SECOND = {"invalid", "fail", "Assert", "ServingError", "RefusedError"}
# What all messages begin with.
PREFIX = re.compile(r"^(?:warning|UserWarning|ServingError): ")


def calls(path, function):
    """The calls of a function in a file: list of `ast.Call`."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [node for node in nodes if isinstance(node, ast.Call) and _name(node.func) == function]


def strings(path):
    """A file, and all its texts, since it may have them in several lines."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    return [source, *(text for node in ast.walk(tree) for text in texts(node))]


def messages(path):
    """What a file raises or warns of; what is not written there, but handed on, is left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    # An inner function comes after the one around it.
    scopes = {node: scope for scope in (tree, *functions) for node in ast.walk(scope)}
    found = []
    for node, scope in scopes.items():
        name = _name(node.func) if isinstance(node, ast.Call) else ""
        if name in CALLS or name.endswith("Error") or name.startswith("assert_"):
            said = _said(node, name, (scope, tree))
            found += [t for t in said if name != "print" or t.startswith("warning: ")]
    return [PREFIX.sub("", text) for text in found if re.search(r"\w", text)]


def is_explained(message, phrase):
    """Whether a phrase is a message from end to end, or 15 characters of it or more.

    Args:
        message: one of `messages`.
        phrase: what a page shows.
    """
    if _bare(phrase) == _bare(message):
        return True
    pieces = [piece for piece in map(str.strip, phrase.split("…")) if piece]
    found = re.search(".*".join(map(re.escape, pieces)), message, re.DOTALL)
    return sum(map(len, pieces)) >= 15 and found is not None


def texts(node, scopes=()):
    """The texts that an expression may have, of which … are what is not known."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return _joined("", node.values, scopes)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _joined("", (node.left, node.right), scopes)
    if isinstance(node, ast.FormattedValue):
        return texts(node.value, scopes) if isinstance(node.value, ast.Name) else ["…"]
    if isinstance(node, ast.IfExp):
        return [*texts(node.body, scopes), *texts(node.orelse, scopes)]
    if isinstance(node, ast.Name):
        return [text for value in _assigned(node.id, scopes) for text in texts(value)] or ["…"]
    return ["…"]


def _bare(text):
    return re.sub(r"…(\s*…)+", "…", text).strip(" …:/.")


def _said(call, name, scopes):
    """What a call may say: texts, … for what is neither a literal nor a variable with one."""
    place = int(name in SECOND)
    nodes = call.args[place : place + 1]
    if name.startswith("assert_"):
        nodes = [keyword.value for keyword in call.keywords if keyword.arg == "message"]
    if nodes and isinstance(nodes[0], ast.List):
        return _joined(" ", nodes[0].elts, scopes)
    return [text for node in nodes for text in texts(node, scopes)]


def _joined(between, nodes, scopes):
    choices = itertools.product(*(texts(node, scopes) for node in nodes))
    return [between.join(parts) for parts in choices]


def _assigned(name, scopes):
    """What a variable is set to, in its function or else in the file: list of expressions."""
    for scope in scopes:
        nodes = scope.body if isinstance(scope, ast.Module) else ast.walk(scope)
        assignments = [node for node in nodes if isinstance(node, ast.Assign)]
        found = [a.value for a in assignments if name in map(_name, a.targets)]
        if found:
            return found
    return []


def _name(node):
    return getattr(node, "attr", getattr(node, "id", ""))
