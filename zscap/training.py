"""The training loop of the classifiers and of the recipes in notebooks 90-92."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm


def fit(
    model: nn.Module,
    loss: Callable[[int], Tensor],
    *,
    steps: int,
    learning_rate: float,
    checkpoint: str | Path | None = None,
    every: int = 200,
    evaluate: Callable[[], dict[str, float]] | None = None,
    warmup: float = 0.05,
    weight_decay: float = 0.01,
    average: float = 0.0,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Train `model` in place with AdamW, linear warm-up and a cosine schedule; a run that was cut off goes on exactly.

    `loss(step)` returns a scalar and draws its batch from the step number alone: torch's generator is seeded with it
    before every step, so that dropout and `torch.randint` inside `loss` repeat too.

    Args:
        steps, learning_rate: number of updates; peak rate, reached after the fraction `warmup` of them.
        checkpoint: file for the run's whole state, replaced atomically every `every` steps; resumed if there.
        evaluate: called every `every` steps in eval mode without gradients; its figures become columns of the result.
        average: decay of an exponential moving average of the weights, which replaces them at the end (0: none).
        seed: shifts every step's generator.

    Returns:
        DataFrame with columns `step`, `loss` (mean since the row before) and `evaluate`'s, a row per `every` steps.
    """
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98))
    smooth = {name: value.clone() for name, value in model.state_dict().items()} if average else {}
    start, rows, since = 0, [], []
    if checkpoint and Path(checkpoint).exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        start, rows, smooth = saved["step"], saved["rows"], saved["smooth"]

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
        if (step + 1) % every == 0 or step + 1 == steps:
            model.eval()
            with torch.no_grad():
                figures = evaluate() if evaluate else {}
            rows.append({"step": step + 1, "loss": sum(since) / len(since), **figures})
            since = []
            if checkpoint:
                state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "smooth": smooth}
                Path(checkpoint).parent.mkdir(parents=True, exist_ok=True)
                torch.save({**state, "step": step + 1, "rows": rows}, f"{checkpoint}.part")
                os.replace(f"{checkpoint}.part", checkpoint)
    if average:
        model.load_state_dict(smooth)
    model.eval()
    return pd.DataFrame(rows)
