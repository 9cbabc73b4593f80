"""Ways to bend the next-token distribution; the class of the options says which one runs."""

from torch import Tensor

from ..options import DecodingOptions, MagicOptions, ProximalOptions, SteeringOptions
from .magic import magic
from .proposal import Iteration, Proposal
from .proximal import propose
from .steering import steer
from .target import candidates_of, targets_of

GUIDANCE = {SteeringOptions: steer, ProximalOptions: propose, MagicOptions: magic}

__all__ = ["GUIDANCE", "Iteration", "Proposal", "candidates_of", "guide", "targets_of"]


def guide(proposal: Proposal, options: DecodingOptions) -> Tensor:
    """What the search sees of the next token: log-probabilities, shape (rows, vocabulary)."""
    return GUIDANCE[type(options)](proposal, options)
