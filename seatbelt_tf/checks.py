"""Checks of arguments without TensorFlow: a ValueError says what was expected and what came."""

import difflib
import math
import numbers

# Seeds are int32 where TensorFlow draws, and some parts add a little to theirs.
LARGEST_SEED = 2**31 - 2**12


def invalid(name, expected, received):
    """The ValueError of this package: what `name` should be, and what it was."""
    return ValueError(f"Invalid value for {name}. Expected {expected}. Received: {name}={received}")


def positive_integer(name, value):
    """Returns `value` as an int, or raises ValueError unless it is a whole number above 0."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise invalid(name, "a positive integer", repr(value))
    return int(value)


def whole_number(name, value):
    """Returns `value` as an int, or raises ValueError unless it is a whole number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 0:
        raise invalid(name, "an integer of at least 0", repr(value))
    return int(value)


def finite_number(name, value, minimum=None, above=None):
    """Returns `value` as a float, or raises ValueError unless it is finite and in range."""
    bound = ""
    if minimum is not None:
        bound = f" of at least {minimum}"
    elif above is not None:
        bound = f" above {above}"
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if (
        not is_number
        or not math.isfinite(value)
        or (minimum is not None and value < minimum)
        or (above is not None and value <= above)
    ):
        raise invalid(name, f"a finite number{bound}", repr(value))
    return float(value)


def one_of(name, value, allowed):
    """Returns `value`, or raises ValueError unless it is one of the allowed names."""
    # In a dict it would have to be hashable.
    if value not in tuple(allowed):
        near = difflib.get_close_matches(str(value), list(map(str, allowed)), n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise invalid(name, f"one of {', '.join(map(repr, allowed))}{hint}", repr(value))
    return value


def seed(name, value):
    """Returns `value` as an int, or raises ValueError unless it is from 0 to `LARGEST_SEED`."""
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or not 0 <= value <= LARGEST_SEED:
        raise invalid(name, f"an integer from 0 to {LARGEST_SEED}", repr(value))
    return int(value)
