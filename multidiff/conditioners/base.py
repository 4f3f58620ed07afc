"""What a conditioner is, and the one that asks for nothing."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from torch import nn

from multidiff.diffusion.conditioning import Conditioning
from multidiff.errors import InputError

Field = Literal["label", "caption"]
"""What data may say of a sample."""


class Conditioner(nn.Module):
    """Turns labels or prompts into a `Conditioning`.

    Attributes:
        reads: which field of the data it is trained on; None if it needs none.
        vocabulary: the labels or the words that it knows.
        vector_dim: D of the vectors that it makes, 0 if it makes none.
        token_dim: E of the tokens that it makes, 0 if it makes none.
        dropout: how often training replaces a condition by the null one, which guidance needs.
    """

    reads: ClassVar[Field | None]
    vocabulary: tuple[str, ...] = ()
    vector_dim: int = 0
    token_dim: int = 0
    dropout: float

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        if not 0 <= dropout <= 1:
            raise InputError(f"conditioning.dropout is a probability, got {dropout}")
        self.dropout = dropout

    @classmethod
    @abstractmethod
    def settings_from(cls, label_names: Sequence[str], captions: Sequence[str]) -> dict[str, Any]:
        """The constructor arguments that only the data can tell.

        Raises:
            InputError: the data lacks what this conditioner reads.
        """

    @abstractmethod
    def forward(self, values: Sequence[str | None]) -> Conditioning | None:
        """Encode one label or prompt a sample; None stands for the null condition.

        Raises:
            InputError: a value that training did not know; the message lists what it did.
        """


class Unconditional(Conditioner):
    """Asks for nothing."""

    reads = None

    def __init__(self) -> None:
        super().__init__()

    @classmethod
    def settings_from(cls, label_names: Sequence[str], captions: Sequence[str]) -> dict[str, Any]:
        return {}

    def forward(self, values: Sequence[str | None]) -> Conditioning | None:
        return None
