"""What the clients of buckets raise, without them."""


class HttpError(Exception):
    """An error as the clients of buckets have them: no OSError, with the status of the answer."""

    def __init__(self, code):
        super().__init__(f"{code} answer")
        self.code = code
