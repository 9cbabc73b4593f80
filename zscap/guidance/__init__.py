"""Ways to bend the next-token distribution; the class of the options says which one runs."""

from functools import singledispatch

from torch import Tensor

from ..errors import InvalidOption
from ..options import DecodingOptions, MagicOptions, ProximalOptions, SteeringOptions
from . import magic, proximal, steering
from .proposal import Iteration, Proposal

__all__ = ["Iteration", "Proposal", "guide"]


@singledispatch
def guide(options: DecodingOptions, proposal: Proposal) -> Tensor:
    """What the search sees of the next token: log-probabilities, shape = (rows, vocabulary).

    `guide.register(MyOptions, function)` adds a way of guidance; it also runs for classes derived from MyOptions.

    Raises:
        InvalidOption: no guidance is registered for options of this class.
    """
    raise InvalidOption(
        f"options={type(options).__name__}: no guidance belongs to this class; derive it from SteeringOptions, "
        "ProximalOptions or MagicOptions, or name its own with zscap.guidance.guide.register"
    )


guide.register(SteeringOptions, steering.guide)
guide.register(ProximalOptions, proximal.guide)
guide.register(MagicOptions, magic.guide)
