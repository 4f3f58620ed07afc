"""An encoded file in memory."""

from io import BytesIO


class EncodedFile(BytesIO):
    """The bytes of a file within a shard or a table, with a name for messages, such as ``000.tar/cat.jpg``."""

    def __init__(self, content: bytes, name: str):
        super().__init__(content)
        self.name = name

    def __reduce__(self) -> tuple[type["EncodedFile"], tuple[bytes, str]]:
        return EncodedFile, (self.getvalue(), self.name)

    def __str__(self) -> str:
        return self.name
