"""Audibility guidance written down plainly (docs/METHODS.md, 1): one source, one beam row, one text at a time; slow.

It shares no code with the package. Every full forward is run without a cache but for the one that is shifted.
"""

import torch
from transformers import DynamicCache


def caption(model, tokenizer, matcher, classifier, source, options) -> tuple[str, list[int]]:
    """The caption of one source, prompt in front, and the ids generated after the prompt."""
    (a,) = matcher.encode_source([source])
    end = tokenizer.encode(options.end_token, add_special_tokens=False)[0]
    bos = tokenizer.bos_token
    prompt = tokenizer.encode(bos + options.prompt, add_special_tokens=False)

    beams = [([], 0.0, False)]  # generated ids, summed log-probability, ended
    for position in range(options.max_new_tokens):
        pool = []
        for ids, total, ended in beams:
            if ended:
                pool.append((ids, total, True))
                continue
            p = next_distribution(model, tokenizer, matcher, classifier, a, prompt + ids, position, end, options)
            for token in range(len(p)):
                if position > 0 or token != tokenizer.eos_token_id:  # a caption has a word
                    pool.append(([*ids, token], total + p[token].log().item(), token in (end, tokenizer.eos_token_id)))
        pool.sort(key=lambda beam: -beam[1] / len(beam[0]))
        beams = pool[: options.beam_size]
        if all(ended for _, _, ended in beams):
            break

    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids, _, _ in beams]
    fits = [float(matcher.encode_text([text])[0] @ a) for text in texts]
    best = fits.index(max(fits))
    return options.prompt + texts[best], beams[best][0]


def next_distribution(model, tokenizer, matcher, classifier, a, ids, position, end, options):
    tokens = torch.tensor([ids])
    with torch.no_grad():
        context = [(layer.keys, layer.values) for layer in model(tokens[:, :-1]).past_key_values.layers]
        p0 = model(tokens).logits[0, -1].softmax(-1)

    prefix = tokenizer.decode(ids, skip_special_tokens=True)
    delta = [[torch.zeros_like(t, requires_grad=True) for t in layer] for layer in context]

    def shifted_logits():
        cache = DynamicCache([(k + dk, v + dv) for (k, v), (dk, dv) in zip(context, delta, strict=True)])
        return model(tokens[:, -1:], past_key_values=cache).logits[0, -1]

    for _ in range(options.num_iterations):
        p = shifted_logits().softmax(-1)
        top = p.topk(options.num_candidates).indices.tolist()
        cosines, audible = [], []
        for token in top:
            text = prefix + tokenizer.decode([token], skip_special_tokens=True)
            cosines.append(float(matcher.encode_text([text])[0] @ a))
            audible.append(float(classifier.probability([text])[0]))
        cosines, audible = torch.tensor(cosines), torch.tensor(audible)
        loss = options.kl_scale * (p * (p.log() - p0.log())).sum()
        if options.combine == "scores":
            t = ((cosines + options.classifier_scale * audible) / options.temperature).softmax(-1)
            loss = loss + options.matching_scale * -(t * p[top].log()).sum()
        else:
            for scale, scores in ((options.matching_scale, cosines), (options.classifier_scale, audible)):
                loss = loss + scale * -((scores / options.temperature).softmax(-1) * p[top].log()).sum()
        loss.backward()
        for layer in delta:
            for i, shift in enumerate(layer):
                norm = shift.grad.norm() + 1e-15
                step = options.step_size * shift.grad / norm**options.gradient_norm_power
                layer[i] = (shift.detach() - step).requires_grad_()

    with torch.no_grad():
        logits = shifted_logits()
    for token in set(ids[-4:]):
        logits[token] = less_likely(logits[token], options.repetition_penalty)
    if position == 0:
        logits[end] = less_likely(logits[end], options.start_penalty)
    else:
        logits[end] = logits[end] * options.end_boost if logits[end] > 0 else logits[end] / options.end_boost
    for token in options.forbidden_tokens:
        logits[token] = less_likely(logits[token], options.forbidden_penalty)
    p = logits.softmax(-1) ** options.fusion_scale * p0 ** (1 - options.fusion_scale)
    return p / p.sum()


def less_likely(logit, factor):
    return logit / factor if logit > 0 else logit * factor
