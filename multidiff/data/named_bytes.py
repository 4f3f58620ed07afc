"""A file that has no place of its own."""

from io import BytesIO


class NamedBytes(BytesIO):
    """Bytes that are read like a file, and called in messages by where they came from: ``000.tar/cat.jpg``."""

    def __init__(self, content: bytes, name: str):
        super().__init__(content)
        self.name = name

    def __str__(self) -> str:
        return self.name
