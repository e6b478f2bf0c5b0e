"""The error of everything that asks a served model."""


class ServingError(RuntimeError):
    """What a server answered in place of a result.

    Attributes:
        code: the canonical status name: "INVALID_ARGUMENT", "UNAVAILABLE", …
        message: the server's own words.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message
