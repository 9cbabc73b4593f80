"""Proximal steering: the closed form against a long optimisation, and captions from it."""

import pytest
import tiny
import torch

import zscap
from zscap.guidance.proximal import lambert_w_of_exp, solve

KAPPAS = [0.01, 0.1, 1.0, 10.0, 100.0]


def problem(rows=5, vocabulary=60):
    generator = torch.Generator().manual_seed(0)
    log_p0 = (3 * torch.randn(rows, vocabulary, generator=generator, dtype=torch.float64)).log_softmax(-1)
    target = torch.zeros_like(log_p0)
    for row in range(rows):  # zero almost everywhere, on as many tokens as the row's number and one more
        target[row, torch.randperm(vocabulary, generator=generator)[: row + 1]] = 1 / (row + 1)
    return log_p0, target


def objective(log_p, log_p0, target, kappa):
    return -(target * log_p).sum(-1) + kappa * (log_p.exp() * (log_p - log_p0)).sum(-1)


@pytest.mark.parametrize("kappa", KAPPAS)
def test_the_closed_form_is_the_minimum(kappa):
    log_p0, target = problem()
    found = solve(log_p0, target, kappa)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(5, dtype=torch.float64), atol=1e-12, rtol=0)
    # Stationarity on the simplex: -t/p + kappa log(p/p0) is the same number for every token of a row.
    slope = -target / found.exp() + kappa * (found - log_p0)
    assert (slope.amax(-1) - slope.amin(-1)).max() < 1e-9 * max(1.0, kappa)
    logits = (log_p0 + (target + 1e-3).log()).requires_grad_()
    search = torch.optim.LBFGS([logits], max_iter=3000, tolerance_grad=1e-13, line_search_fn="strong_wolfe")

    def loss():
        search.zero_grad()
        value = objective(logits.log_softmax(-1), log_p0, target, kappa).sum()
        value.backward()
        return value

    search.step(loss)
    searched = objective(logits.detach().log_softmax(-1), log_p0, target, kappa)
    # The search stops short now and then, and never below the minimum.
    assert (objective(found, log_p0, target, kappa) - searched).max() < 1e-6


def test_extremes():
    log_p0, target = problem()
    torch.testing.assert_close(solve(log_p0, target, 1e13), log_p0, atol=1e-6, rtol=0)
    torch.testing.assert_close(solve(log_p0, target, 1e-9).exp(), target, atol=1e-6, rtol=0)
    torch.testing.assert_close(solve(log_p0, torch.zeros_like(target), 1.0), log_p0)
    single, double = solve(log_p0.float(), target.float(), 0.3), solve(log_p0, target, 0.3)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, atol=1e-5, rtol=1e-5)
    improbable = torch.tensor([[0.0, -1e4, -50.0]], dtype=torch.float64).log_softmax(-1)
    assert solve(improbable, torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64), 0.01).isfinite().all()


def test_lambert_w_is_the_root():
    x = torch.linspace(-600, 1e6, 10_001, dtype=torch.float64)
    w = lambert_w_of_exp(x)
    torch.testing.assert_close(w + w.log(), x, atol=1e-9, rtol=1e-12)
    assert lambert_w_of_exp(torch.tensor([-torch.inf]).double()).item() == 0


@pytest.mark.parametrize("beam_size", [1, 3])
def test_captions_fit_better_and_do_not_depend_on_the_batch(tmp_path, beam_size):
    language_model = tiny.language_model(tmp_path)
    guides = {"matcher": tiny.HashMatcher(), "classifier": tiny.HashClassifier()}
    options = zscap.ProximalOptions(num_candidates=40, kappa=0.3, beam_size=beam_size)
    captioner = zscap.Captioner(language_model, **guides, options=options, batch_size=3)
    sources = [f"clip {number}" for number in range(7)]
    captions = captioner(sources)
    assert [captioner(source).tokens for source in sources] == [caption.tokens for caption in captions]
    unmoved = captioner(sources, kappa=1e6)
    assert sum(c.matching for c in captions) > sum(c.matching for c in unmoved) + 1
    assert beam_size > 1 or len({c.tokens for c in unmoved}) == 1
    (step, *_) = captioner.steps("clip 1")
    assert len(step.iterations) == 1 and step.iterations[0].candidates.shape == (1, 40)


def test_previewed_candidates_are_the_most_promising(tmp_path):
    language_model = tiny.language_model(tmp_path)
    matcher = tiny.HashMatcher()
    guides = {"matcher": matcher, "classifier": tiny.HashClassifier()}
    options = zscap.ProximalOptions(num_candidates=10, num_previewed=80, temperature=0.1, kappa=0.3)
    captioner = zscap.Captioner(language_model, **guides, options=options, batch_size=3)
    sources = [f"clip {number}" for number in range(5)]
    captions = captioner(sources)
    assert [captioner(source).tokens for source in sources] == [caption.tokens for caption in captions]
    (source,) = matcher.encode_source(["clip 1"])
    for step in captioner.steps("clip 1"):
        pool = step.before[0].topk(80).indices.tolist()
        texts = [language_model.pieces[token].strip() or language_model.pieces[token] for token in pool]
        cosines = dict(zip(pool, (matcher.encode_text(texts) @ source).tolist(), strict=True))
        promise = lambda token: step.before[0, token].item() + cosines[token] / 0.1  # noqa: B023, E731
        assert set(step.iterations[0].candidates[0].tolist()) == set(sorted(pool, key=promise, reverse=True)[:10])
    plain = captioner(sources, num_previewed=0)
    assert sum(c.matching for c in captions) > sum(c.matching for c in plain)
    deaf = zscap.Captioner(language_model, classifier=guides["classifier"], options=options)
    assert deaf("clip 1").tokens == deaf("clip 1", num_previewed=0).tokens  # nothing to preview with
