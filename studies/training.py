"""The training loop of the classifiers and of the recipes in notebooks 90 to 98."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from zscap.errors import InvalidData, InvalidOption
from zscap.files.packed import writing


def fit(
    model: nn.Module,
    loss: Callable[[int], Tensor],
    *,
    steps: int,
    learning_rate: float,
    checkpoint: str | Path | None = None,
    every: int = 200,
    evaluate: Callable[[], Mapping[str, float]] | None = None,
    keep_best: str = "",
    warmup: float = 0.05,
    weight_decay: float = 0.01,
    average: float = 0.0,
    seed: int = 0,
    recipe: Mapping[str, object] | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Train `model` in place with AdamW, linear warm-up and a cosine schedule; a run that was cut off goes on exactly.

    `loss(step)` returns a scalar and draws its batch from the step number alone: torch's generator is seeded with it
    before every step, so that dropout and `torch.randint` inside `loss` repeat too.

    Args:
        steps, learning_rate: number of updates; peak rate, reached after the fraction `warmup` of them.
        checkpoint: file for the run's whole state, replaced atomically every `every` steps; resumed if there. It
            holds the arguments from `steps` to `recipe` and the shapes of the model's tensors, not their first values:
            an interrupted cell may be run again with the model as it is then.
        evaluate: called every `every` steps in eval mode without gradients; its figures become columns of the result.
        keep_best: the figure of `evaluate` whose highest value decides which weights the model has in the end.
        average: decay of an exponential moving average of the weights, which replaces them at the end (0: none).
        seed: shifts every step's generator.
        recipe: what else makes this run, such as the batch size; a checkpoint of another value isn't resumed.

    Returns:
        DataFrame with columns `step`, `loss` (mean since the row before) and `evaluate`'s, a row per `every` steps.

    Raises:
        InvalidData: the checkpoint is damaged, or of a run with other settings.
        InvalidOption: an impossible value, or a learning rate at which the loss or a weight becomes no finite number.
        UnwritableOutput: the checkpoint can't be written.
    """
    check_between(0, steps=steps)
    check_between(1, every=every)
    check_between(1e-12, 100.0, learning_rate=learning_rate)
    own = {"steps": steps, "learning_rate": learning_rate, "every": every, "keep_best": keep_best, "warmup": warmup}
    own |= {"weight_decay": weight_decay, "average": average, "seed": seed}
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    recipe = {name: str(value) for name, value in (own | dict(recipe or {}) | shapes).items()}
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98))
    smooth = _copy(model) if average else {}
    start, rows, since, best = 0, [], [], {"score": -math.inf, "weights": {}}
    if checkpoint and Path(checkpoint).exists():
        saved = _read_checkpoint(checkpoint, recipe)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        start, rows, best = saved["step"], saved["rows"], saved["best"]
        smooth = {name: saved["smooth"][name].to(tensor.device) for name, tensor in smooth.items()}

    for step in tqdm(range(start, steps), initial=start, total=steps, disable=not progress):
        ramp = min(1.0, (step + 1) / max(1.0, warmup * steps))
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * ramp * 0.5 * (1 + math.cos(math.pi * step / steps))
        model.train()
        torch.manual_seed(seed * 1_000_003 + step)
        value = loss(step)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        since.append(float(value.detach()))
        decay = min(average, (step + 1) / (step + 10))  # a short memory at first forgets the random start
        for name, tensor in model.state_dict().items() if average else ():
            smooth[name] = torch.lerp(tensor, smooth[name], decay) if tensor.is_floating_point() else tensor.clone()
        due = (step + 1) % every == 0 or step + 1 == steps
        if not math.isfinite(since[-1]) or (due and not all(p.isfinite().all() for p in model.parameters())):
            raise InvalidOption(
                f"learning_rate={learning_rate}: the loss, {since[-1]:g}, or a weight is no finite number at step "
                f"{step + 1}; lower it, or look for such numbers in the data and settings"
            )
        if due:
            model.eval()
            with torch.no_grad():
                figures = {name: float(figure) for name, figure in evaluate().items()} if evaluate else {}
            rows.append({"step": step + 1, "loss": sum(since) / len(since), **figures})
            since = []
            if keep_best and figures[keep_best] >= best["score"]:  # of equals the later, which has learnt longer
                best = {"score": figures[keep_best], "weights": _copy(model)}
            if checkpoint:
                state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "smooth": smooth}
                state |= {"best": best, "step": step + 1, "rows": rows, "recipe": recipe}
                with writing(checkpoint):
                    Path(checkpoint).parent.mkdir(parents=True, exist_ok=True)
                    torch.save(state, f"{checkpoint}.part")
                    os.replace(f"{checkpoint}.part", checkpoint)
    if weights := best["weights"] or smooth:
        model.load_state_dict(weights)
    model.eval()
    return pd.DataFrame(rows)


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _read_checkpoint(file: str | Path, recipe: dict[str, str]) -> dict:
    try:
        saved = torch.load(file, weights_only=True, map_location="cpu")
        found = dict(saved["recipe"])
    except Exception as error:  # whatever the bytes of a damaged file lead to
        raise InvalidData(f"{file} is no whole checkpoint ({error!r:.80}): delete it or name another") from error
    for name in recipe | found:
        if found.get(name) != recipe.get(name):
            raise InvalidData(
                f"{file} is of a run with {name}={found.get(name)} instead of {recipe.get(name)}: "
                "delete it or name another"
            )
    return saved


def check_between(minimum: float, maximum: float = math.inf, **values: float) -> None:
    """Raise InvalidOption where a value is no number from minimum to maximum, or not whole though the minimum is."""
    whole = isinstance(minimum, int)
    rule = f"at least {minimum}" + f", at most {maximum:,}" * (maximum < math.inf) + " and whole" * whole
    for name, value in values.items():
        if not isinstance(value, Integral if whole else Real) or not minimum <= value <= maximum:
            raise InvalidOption(f"{name}={value!r}: must be {rule}")
