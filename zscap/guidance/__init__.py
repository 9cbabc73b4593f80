"""Ways to bend the next-token distribution; the class of the options says which one runs."""

from __future__ import annotations

from functools import singledispatch

from ..errors import InvalidOption
from ..options import DecodingOptions, MagicOptions, ProximalOptions, SteeringOptions
from ..scoring import Guided, Iteration, Proposal
from .magic import search
from .proximal import solved
from .steering import steered

__all__ = ["Guided", "Iteration", "Proposal", "guide"]


@singledispatch
def guide(options: DecodingOptions, proposal: Proposal) -> Guided:
    """What the search is to see of the next token, in place of the language model's own proposal.

    `guide.register(MyOptions, function)` adds a way of guidance; it also runs for classes derived from MyOptions.

    Raises:
        InvalidOption: no guidance is registered for options of this class.
    """
    raise InvalidOption(
        f"options={type(options).__name__}: no guidance belongs to this class; derive it from SteeringOptions, "
        "ProximalOptions or MagicOptions, or name its own with zscap.guidance.guide.register"
    )


guide.register(SteeringOptions, steered)
guide.register(ProximalOptions, solved)
guide.register(MagicOptions, search)
