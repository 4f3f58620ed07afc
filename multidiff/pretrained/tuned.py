"""A pretrained model of which only some weights train."""

import copy
from typing import Any

from torch import Tensor

from multidiff.codecs import Codec
from multidiff.conditioners import Conditioner
from multidiff.diffusion.denoiser import NetworkDenoiser
from multidiff.model import Model


class TunedModel(Model):
    """A model whose state is the weights that train; deep copies, such as its EMA, share all others.

    So checkpoints do not contain the frozen weights, and they are in memory once.

    Args:
        codec: of the pretrained model, as are the others.
        conditioner: frozen, or with weights that train.
        denoiser: likewise.

    Attributes:
        trained: names of the weights that required a gradient when the model was made.
    """

    def __init__(self, codec: Codec, conditioner: Conditioner, denoiser: NetworkDenoiser):
        super().__init__(codec, conditioner, denoiser)
        self.trained = frozenset(name for name, weight in self.named_parameters() if weight.requires_grad)

    def state_dict(self, *arguments: Any, prefix: str = "", **settings: Any) -> dict[str, Any]:  # type: ignore[override]
        state = super().state_dict(*arguments, prefix=prefix, **settings)
        for name in [name for name in state if name.startswith(prefix)]:
            if name.removeprefix(prefix) not in self.trained:
                del state[name]
        return state

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        """Torch calls it before it loads the parts, which find the frozen weights as they are."""
        state_dict.update(self._frozen(prefix))
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def __deepcopy__(self, memo: dict[int, Any]) -> "TunedModel":
        shared = [weight for name, weight in self.named_parameters() if name not in self.trained]
        memo.update({id(weight): weight for weight in shared})
        clone = type(self).__new__(type(self))
        memo[id(self)] = clone
        clone.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return clone

    def _frozen(self, prefix: str) -> dict[str, Tensor]:
        state = super().state_dict(prefix=prefix)
        return {name: value for name, value in state.items() if name.removeprefix(prefix) not in self.trained}
