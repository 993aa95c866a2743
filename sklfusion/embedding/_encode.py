"""From texts to token ids to pooled vectors, in batches of equal length."""

import numpy as np
import torch

# A BERT word longer than 100 characters is one unknown token, and no common token is longer.
# Cutting there first keeps the tokenizer from reading megabytes whose end would be dropped.
CHARACTERS_PER_TOKEN = 100
# Tokens per batch: on a CPU the activations of so many stay in the cache of a core (256 to 1,024
# were equally fast, 8,192 took 1.6 times as long); an accelerator wants many at once.
_TOKENS_ON_CPU = 512
_TOKENS_ELSEWHERE = 16_384


def tokenize(backbone, texts, max_length):
    """Return one list of token ids per text, cut at `max_length` tokens."""
    limit = max_length * CHARACTERS_PER_TOKEN
    with backbone.lock:  # setting the truncation of a fast tokenizer is not thread-safe
        rows = backbone.tokenizer(
            [text[:limit] for text in texts],
            truncation=True,
            max_length=max_length,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
    # A tokenizer without special tokens makes nothing of "", and attention over nothing is NaN.
    return [row if row else [backbone.pad_id] for row in rows]


def batches_by_length(lengths, batch_size):
    """Yield index arrays; texts of like length go together, the longest first."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def batches_by_tokens(lengths, n_tokens):
    """Yield index arrays of at most `n_tokens` tokens, padding included; the longest first."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    start = 0
    while start < len(order):
        end = start + max(1, n_tokens // lengths[order[start]])
        yield order[start:end]
        start = end


def pad(rows, pad_id, device=None):
    """Return ``input_ids`` and ``attention_mask`` as int64 tensors of shape (b, longest row)."""
    ids, mask = padded(rows, pad_id)
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)


def padded(rows, pad_id):
    """The same as arrays."""
    width = max(map(len, rows))
    ids = np.full((len(rows), width), pad_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return ids, mask


def pad_states(rows):
    """Return hidden states of shape (b, longest row, d) and their mask as tensors."""
    width = max(map(len, rows))
    states = np.zeros((len(rows), width, rows[0].shape[1]), dtype=np.float32)
    mask = np.zeros((len(rows), width), dtype=np.int64)
    for i, row in enumerate(rows):
        states[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return torch.from_numpy(states), torch.from_numpy(mask)


def pool(hidden, mask, pooling):
    """Pool hidden states of shape (b, t, d) over the tokens where mask is 1; float32 (b, d)."""
    hidden = hidden.float()
    if pooling == "cls":
        return hidden[:, 0]
    inside = mask.unsqueeze(-1).to(hidden.dtype)
    if pooling == "max":
        return hidden.masked_fill(inside == 0, -torch.inf).amax(dim=1)
    return (hidden * inside).sum(dim=1) / inside.sum(dim=1)


def pooled(model, inputs, ids, mask, pooling):
    """Run an encoder on padded ids, or its upper layers on hidden states, and pool."""
    name = "inputs_embeds" if ids.is_floating_point() else "input_ids"
    arguments = {name: ids, "attention_mask": mask}
    if "token_type_ids" in inputs and not ids.is_floating_point():
        arguments["token_type_ids"] = torch.zeros_like(ids)
    return pool(model(**arguments).last_hidden_state, mask, pooling)


def torch_run(backbone, pooling, normalize):
    """Function from padded ids and their mask (both (b, t) int64) to vectors (b, d), in torch."""

    @torch.inference_mode()
    def run(ids, mask):
        ids, mask = (torch.from_numpy(array).to(backbone.device) for array in (ids, mask))
        vectors = pooled(backbone.model, backbone.inputs, ids, mask, pooling)
        if normalize:
            vectors = torch.nn.functional.normalize(vectors, dim=1)
        return vectors.cpu().numpy()

    return run


def encode(backbone, rows, *, run, batch_size, done=None):
    """Encode token rows; float32 array of shape (n, d) in their order.

    Parameters
    ----------
    backbone : Backbone
        Tells the padding and the width.
    rows : list of n lists of int
        Token ids.
    run : callable
        From padded ids and mask to vectors.
    batch_size : int or "auto"
        Rows per batch; "auto" fills a batch by its number of tokens.
    done : callable, optional
        Called with the indices of the rows of each batch.
    """
    out = np.empty((len(rows), backbone.width), dtype=np.float32)
    lengths = [len(row) for row in rows]
    if batch_size == "auto":
        on_cpu = backbone.device.type == "cpu"
        batches = batches_by_tokens(lengths, _TOKENS_ON_CPU if on_cpu else _TOKENS_ELSEWHERE)
    else:
        batches = batches_by_length(lengths, batch_size)
    for index in batches:
        out[index] = run(*padded([rows[i] for i in index], backbone.pad_id))
        if done is not None:
            done(index)
    return out
