"""The core stands alone: with torch, transformers and numpy only; it frees what it no longer needs."""

import gc
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tiny
import torch

import zscap
from zscap.guidance.proximal import solve
from zscap.scoring import Remembered

ALONE = """
import importlib.metadata, importlib.util, re, sys

needed = {"torch", "transformers", "numpy"}
waiting = list(needed)
while waiting:  # and what these need
    for line in importlib.metadata.requires(waiting.pop()) or ():
        name = re.match(r"[\\w.-]+", line)[0].lower().replace("-", "_")
        if "extra ==" not in line and name not in needed:
            needed.add(name)
            try:
                importlib.metadata.distribution(name)
                waiting.append(name)
            except importlib.metadata.PackageNotFoundError:
                pass
needed |= {"yaml", "_yaml", "zscap", "tiny"}  # pyyaml's names
by_module = importlib.metadata.packages_distributions()
for module, packages in by_module.items():
    if module not in needed and not any(package.lower().replace("-", "_") in needed for package in packages):
        sys.modules[module] = None  # an import of it fails, as if it were not installed
assert sys.modules["pandas"] is None and sys.modules["av"] is None and sys.modules["scipy"] is None

import tiny, torch, zscap

for options in (
    zscap.SteeringOptions(num_candidates=20, max_new_tokens=3, num_completed=2),
    zscap.ProximalOptions(num_candidates=20, max_new_tokens=3, beam_size=2),
    zscap.MagicOptions(num_candidates=20, max_new_tokens=3, max_length=0),
):
    parts = {"matcher": tiny.HashMatcher(), "classifier": tiny.HashClassifier()}
    captioner = zscap.Captioner(tiny.language_model(sys.argv[1]), **parts, options=options)
    print(repr(captioner("clip").text))
    assert captioner.steps("clip")
wings = {name.split(".")[1] for name in sys.modules if name.startswith("zscap.")}
print(sorted(wings & {"sources", "files", "matchers", "captioners", "classifiers", "preset", "evaluation", "cli"}))
"""


def test_the_core_works_with_torch_transformers_and_numpy_alone(tmp_path):
    folder = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", ALONE, tmp_path / "lm"], cwd=folder, capture_output=True, text=True, check=False
    )
    *lines, wings = done.stdout.splitlines() or [""]
    captions = [line for line in lines if line.startswith(("'", '"'))]
    assert done.returncode == 0 and len(captions) == 3 and "''" not in captions, done.stderr[-2000:]
    assert wings == "[]"


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    return tiny.language_model(tmp_path_factory.mktemp("gpt2"))


class Trainable(tiny.HashMatcher):
    """A matcher of a user's who forgot `no_grad`."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def _encode(self, names):
        return super()._encode(names) * self.scale


def test_no_graph_is_kept_behind_a_score(language_model):
    options = zscap.ProximalOptions(num_candidates=20, num_previewed=40, num_keywords=1, max_new_tokens=3)
    captioner = zscap.Captioner(language_model, matcher=Trainable(), options=options)
    captioner("clip")
    captioner.score("clip", ["a dog barks"])
    gc.collect()
    assert not [each for each in gc.get_objects() if isinstance(each, torch.Tensor) and each.grad_fn is not None]


@pytest.mark.filterwarnings("ignore")
def test_the_networks_are_freed_without_the_collector(tmp_path):
    lm = tiny.language_model(tmp_path)
    options = zscap.SteeringOptions(num_candidates=20, max_new_tokens=3, num_completed=2, words=("catwalk",))
    captioner = zscap.Captioner(lm, matcher=tiny.HashMatcher(), options=options)
    captioner(["clip", "other"])
    freed = weakref.ref(lm), weakref.ref(captioner), weakref.ref(captioner.matcher)
    gc.collect()
    gc.disable()
    try:
        del lm, captioner
        assert [each() for each in freed] == [None, None, None]
    finally:
        gc.enable()


def test_words_and_ends_that_were_asked_about_are_not_kept(language_model):
    options = zscap.ProximalOptions(num_candidates=20, max_new_tokens=2, word_repetition_penalty=2.0)
    captioner = zscap.Captioner(language_model, options=options)
    captioner("clip")
    before = size_of(language_model)
    for number in range(30):
        captioner(
            "clip",
            prompt="a dog " + "abcdefghijklmnopqrstuvwxyz"[number % 26] * 5,
            end_token=" dog" if number % 2 else ".",
        )
    assert size_of(language_model) <= before + 8


def size_of(owner: object) -> int:
    """Items of all lists, dicts and tuples that belong to an object."""
    return sum(len(value) for value in vars(owner).values() if isinstance(value, dict | list | tuple))


def test_the_first_token_is_of_whole_probability_though_no_caption_is_empty(language_model):
    """Else the mean of a short beam would be lower than that of a long one."""
    captioner = zscap.Captioner(
        language_model, options=zscap.SteeringOptions(num_iterations=0, max_new_tokens=2, min_p=0.0)
    )
    first, second = captioner.steps("clip")
    end = language_model.tokenizer.eos_token_id
    assert first.before[0, end].exp() > 1e-4 and first.after[0, end] == -torch.inf
    for step in (first, second):
        torch.testing.assert_close(step.after.exp().sum(-1), torch.ones(1), atol=1e-5, rtol=0)


class OnMps(torch.Tensor):
    """As a tensor on Apple's MPS, which has no float64."""

    @property
    def device(self):
        return torch.device("mps")

    def double(self):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    def cpu(self):
        return self.as_subclass(torch.Tensor)


def test_proximal_steering_asks_no_float64_of_a_device_that_has_none():
    log_p0, target = torch.randn(2, 30).log_softmax(-1), torch.zeros(2, 30)
    target[:, 3] = 1.0
    there = solve(log_p0.as_subclass(OnMps), target.as_subclass(OnMps), 0.5)
    torch.testing.assert_close(there.as_subclass(torch.Tensor), solve(log_p0, target, 0.5))


def test_two_threads_share_what_is_remembered():
    def slow(texts):
        return torch.tensor([[float(len(text))] for text in texts])

    once = Remembered(slow, limit=4)  # less than a call brings, so that texts come and go

    def ask(seed):
        texts = [f"{'x' * ((seed + number) % 9)}{number % 3}" for number in range(12)]
        return all((once(texts)[:, 0] == torch.tensor([float(len(text)) for text in texts])).all() for _ in range(200))

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(ask, range(8)))
    finally:
        sys.setswitchinterval(switch)


@pytest.mark.parametrize("kind", [zscap.SteeringOptions, zscap.ProximalOptions, zscap.MagicOptions])
def test_whole_words_wrap_any_guidance(language_model, kind):
    """Of each way of guidance, in which a token counts as the word that it begins."""

    class Hears(tiny.HashMatcher):
        def encode_source(self, sources):
            return torch.tensor([[1.0, 0.0]]).expand(len(sources), 2)

        def encode_text(self, texts):
            fits = torch.tensor([0.9 if "catwalk" in text else 0.1 for text in texts])
            return torch.stack([fits, (1 - fits**2).sqrt()], dim=1)

    options = kind(words=("catwalk",), num_candidates=400, prompt="Audio of a cat", prompt_in_text=False)
    captioner = zscap.Captioner(language_model, matcher=Hears(), options=options.override(num_keywords=0))
    best = {}
    for number in (0, 400):
        steps = captioner.steps("clip", num_completed=number, max_new_tokens=4)
        best[number] = max(step.iterations[0].matching.nan_to_num().max() for step in steps)
    assert best[0] < 0.5
    assert best[400] >= best[0]
