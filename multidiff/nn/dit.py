"""The diffusion transformer (DiT), in one, two or three dimensions.

Peebles and Xie (2023), https://arxiv.org/abs/2212.09748, with rotary positions and query-key norm, and with
cross-attention to the condition tokens as in PixArt: Chen et al. (2023), https://arxiv.org/abs/2310.00426.
"""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from multidiff.diffusion.conditioning import Conditioning
from multidiff.nn.attention import MultiHeadAttention
from multidiff.nn.checkpointing import call, checkpointed
from multidiff.nn.embeddings import Embedding, Further
from multidiff.nn.initialization import zero_init
from multidiff.nn.resample import crop, pad_to_multiple
from multidiff.nn.rotary import apply_rotary
from multidiff.nn.transformer import AdaptiveLayerNorm, ConditionTokens

OUTER, INNER = ("x", "y", "z"), ("i", "j", "k")

PATCH_AXES = {
    1: "b c (x i) -> b x (c i)",
    2: "b c (x i) (y j) -> b (x y) (c i j)",
    3: "b c (x i) (y j) (z k) -> b (x y z) (c i j k)",
}
"""The arrangement of patches, by the number of dimensions."""


class DiT(nn.Module):
    """A transformer on patches: self-attention, cross-attention to the condition tokens, and an MLP in each block.

    Inputs of any size are zero-padded to a multiple of the patch, and the output is cropped back. A skip connection
    adds each channel of the input times a gain that depends on the noise level, so that a linear denoiser need not pass
    through the tokens. The output is zero at initialisation.

    Args:
        dims: number of dimensions of the samples: 1, 2 or 3.
        channels: channels of the samples.
        vector_dim: width of the condition vector; 0 for none.
        token_dim: width of the condition tokens; 0 for none.
        patch: size of a patch along each axis.
        width: channels of a patch, a multiple of ``head_size``.
        depth: number of blocks.
        head_size: channels of each attention head, a multiple of twice ``dims``.
        expansion: width of the MLPs relative to ``width``.
        dropout: dropout probability in the MLPs.
        gradient_checkpointing: whether to recompute blocks in the backward pass to save memory.
        inputs: further inputs that the network takes, see `multidiff.nn.embeddings.INPUTS`.

    Raises:
        ValueError: ``patch`` is below 1, or ``head_size`` is not a multiple of twice ``dims`` that divides ``width``.
    """

    def __init__(
        self,
        *,
        dims: int,
        channels: int,
        vector_dim: int = 0,
        token_dim: int = 0,
        patch: int,
        width: int,
        depth: int,
        head_size: int = 64,
        expansion: int = 4,
        dropout: float = 0.0,
        gradient_checkpointing: bool = False,
        inputs: Sequence[str] = (),
    ):
        super().__init__()
        if patch < 1 or head_size % (2 * dims):
            raise ValueError(f"need patch >= 1 and head_size a multiple of {2 * dims}, got {patch=}, {head_size=}")
        self.patch, self.token_dim = patch, token_dim
        self.run = checkpointed if gradient_checkpointing else call
        self.embedding = Embedding(width, vector_dim, inputs)
        self.inputs = tuple(inputs)
        self.tokens = ConditionTokens(token_dim, width) if token_dim else None
        self.stem = nn.Linear(channels * patch**dims, width)
        self.blocks = nn.ModuleList(
            DiTBlock(width, head_size=head_size, cross=token_dim > 0, expansion=expansion, dropout=dropout)
            for _ in range(depth)
        )
        self.norm = AdaptiveLayerNorm(width, width)
        self.head = zero_init(nn.Linear(width, channels * patch**dims))
        self.gain = zero_init(nn.Linear(width, channels))

    def forward(self, x: Tensor, log_snr: Tensor, cond: Conditioning | None = None, further: Further = None) -> Tensor:
        """Compute the network output.

        Args:
            x: samples at about unit scale, ``(B, channels, *size)``.
            log_snr: ``log(alpha / sigma)``, ``(B,)``; may be infinite.
            cond: conditions of the B samples; None is the null condition.
            further: values of the further inputs, each ``(B,)``.

        Returns:
            A tensor like ``x``.

        Raises:
            ValueError: ``cond`` has a vector or tokens for which the network has no width.
        """
        return self.partly(x, log_snr, cond, further)[0]

    def partly(
        self,
        x: Tensor,
        log_snr: Tensor,
        cond: Conditioning | None = None,
        further: Further = None,
        deep: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The output, and what the blocks after the first add, which changes little between noise levels.

        Args:
            x: as for `forward`, and so are the following.
            log_snr: see there.
            cond: see there.
            further: see there.
            deep: what to add in place of the blocks after the first, which are then not computed.
        """
        cond = cond or Conditioning()
        if cond.tokens is not None and self.tokens is None:
            raise ValueError("condition tokens were given to a backbone with token_dim=0")
        embedding = self.embedding(log_snr, cond.vector, further)
        context = (None, None) if self.tokens is None else self.tokens(cond.tokens, cond.mask, len(x))
        padded = pad_to_multiple(x, self.patch)
        grid = torch.Size(side // self.patch for side in padded.shape[2:])
        first, *rest = self.blocks
        start = h = self.run(first, self.stem(patchify(padded, self.patch)), grid, embedding, *context)
        if deep is None:
            for block in rest:
                h = self.run(block, h, grid, embedding, *context)
            deep = h - start
        else:
            h = start + deep
        output = crop(unpatchify(self.head(self.norm(h, embedding)), self.patch, grid), x)
        return torch.addcmul(output, self.gain(embedding).reshape(*x.shape[:2], *[1] * len(grid)), x), deep


class DiTBlock(nn.Module):
    """One block, initialised to the identity: the gates of self-attention and MLP are zero, as in adaLN-Zero.

    ``(B, N, dim)`` to ``(B, N, dim)``.

    Args:
        dim: channels of a patch, and width of the embedding.
        head_size: channels of each attention head.
        cross: whether to attend to condition tokens, which have ``dim`` channels too.
        expansion: width of the MLP relative to ``dim``.
        dropout: dropout probability in the MLP.
    """

    def __init__(self, dim: int, *, head_size: int, cross: bool, expansion: int, dropout: float):
        super().__init__()
        self.attention_norm = AdaptiveLayerNorm(dim, dim)
        self.attention = MultiHeadAttention(dim, head_size=head_size)
        self.cross_norm = nn.LayerNorm(dim) if cross else None
        self.cross_attention = MultiHeadAttention(dim, dim, head_size=head_size) if cross else None
        if self.cross_attention is not None:
            zero_init(self.cross_attention.out)
        self.norm = AdaptiveLayerNorm(dim, dim)
        self.inner = nn.Linear(dim, expansion * dim)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(expansion * dim, dim)
        self.gates = zero_init(nn.Linear(dim, 2 * dim))

    def forward(
        self, x: Tensor, grid: torch.Size, embedding: Tensor, context: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        """Process the patches.

        Args:
            x: patches, ``(B, N, dim)``, where N is the product of ``grid``.
            grid: number of patches along each axis.
            embedding: ``(B, dim)``.
            context: condition tokens, ``(B, L, dim)``, or None.
            mask: ``(B, L)``, true where a token is valid; None if all are.
        """
        attention_gate, gate = self.gates(embedding)[:, None].chunk(2, dim=-1)
        rotate = partial(apply_rotary, size=grid)
        x = x + attention_gate * self.attention(self.attention_norm(x, embedding), rotate=rotate)
        if self.cross_attention is not None and self.cross_norm is not None:
            x = x + self.cross_attention(self.cross_norm(x), context, mask)
        return x + gate * self.out(self.dropout(F.silu(self.inner(self.norm(x, embedding)))))


def patchify(x: Tensor, patch: int) -> Tensor:
    """Patches in row-major order: ``(B, C, *size)`` to ``(B, N, C patch^dims)``, for sides that ``patch`` divides."""
    return rearrange(x, PATCH_AXES[x.ndim - 2], **dict.fromkeys(INNER[: x.ndim - 2], patch))


def unpatchify(patches: Tensor, patch: int, grid: torch.Size) -> Tensor:
    """The inverse of `patchify`, for a ``grid`` of patches."""
    dims = len(grid)
    source, target = PATCH_AXES[dims].split(" -> ")
    sides = dict(zip(OUTER, grid, strict=False)) | dict.fromkeys(INNER[:dims], patch)
    return rearrange(patches, f"{target} -> {source}", **sides)
