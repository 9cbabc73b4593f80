"""ZerAuCap written down plainly (docs/METHODS.md, 3): one source at a time, no cache, no code of the package."""

import torch


def keyword_prompt(matcher, source, options) -> str:
    (a,) = matcher.encode_source([source])
    fits = [float(matcher.encode_text([name])[0] @ a) for name in options.keywords]
    best = sorted(range(len(fits)), key=lambda place: -fits[place])[: options.num_keywords]
    names = [options.keywords[place] for place in best]
    article = "an" if names[-1][0] in "aeiou" else "a"
    if len(names) == 1:
        return f"Objects: {article} {names[0]}. {options.prompt}"
    return f"Objects: {', '.join(names[:-1])}, and {article} {names[-1]}. {options.prompt}"


def caption(model, tokenizer, matcher, source, options) -> tuple[str, list[int]]:
    """The generated text and its ids."""
    prompt = keyword_prompt(matcher, source, options) if options.num_keywords else options.prompt
    (a,) = matcher.encode_source([source])
    ends = [tokenizer.encode(end, add_special_tokens=False)[0] for end in options.end_tokens]
    ends.append(tokenizer.eos_token_id)
    ids = tokenizer.encode(tokenizer.bos_token + prompt, add_special_tokens=False)
    start = len(ids)
    while len(ids) < options.max_length and not (len(ids) > start and ids[-1] in ends):
        step = len(ids) - start
        p0, before = look(model, ids)
        top = p0.topk(options.num_candidates).indices.tolist()
        text = tokenizer.decode(ids[start:], skip_special_tokens=True)
        texts = [text + tokenizer.decode([token], skip_special_tokens=True) for token in top]
        cosines = [float(matcher.encode_text([text])[0] @ a) for text in texts]
        matches = (options.logit_scale * torch.tensor(cosines)).softmax(0)
        scores = []
        for token, match in zip(top, matches.tolist(), strict=True):
            score = (1 - options.alpha) * p0[token].item() + options.beta * match
            if options.alpha > 0:
                after = look(model, [*ids, token])[1][-1]
                score -= options.alpha * torch.cosine_similarity(after[None], before).max().item()
            scores.append(score * options.end_penalty * step if token in ends else score)
        ids.append(top[scores.index(max(scores))])
    return tokenizer.decode(ids[start:], skip_special_tokens=True).strip(), ids[start:]


@torch.no_grad()
def look(model, ids):
    """The next token's distribution, and the last layer's hidden states of all tokens."""
    output = model(torch.tensor([ids]), output_hidden_states=True)
    return output.logits[0, -1].softmax(-1), output.hidden_states[-1][0]
