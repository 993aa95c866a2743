"""Run the frozen lower layers of an encoder once per text instead of once per text and epoch."""

from contextlib import contextmanager

import numpy as np
import torch

from sklfusion.embedding._encode import batches_by_length, pad

_MAX_BYTES = 2 << 30  # hidden states that may be kept in memory
_SAME_VECTOR = 1e-4


class _PassThrough(torch.nn.Module):
    """Stands where the embeddings were: hands on the hidden states that it is given."""

    def forward(self, _=None, inputs_embeds=None, **kwargs):
        return inputs_embeds


def longest_layers(encoder):
    """The module that owns the encoder's stack of layers, the attribute, and the stack."""
    stacks = [
        (owner, name, child)
        for owner in encoder.modules()
        for name, child in owner.named_children()
        if isinstance(child, torch.nn.ModuleList)
    ]
    return max(stacks, key=lambda stack: len(stack[2]), default=(None, None, []))


@contextmanager
def lower_layers_once(encoder, data, n_layers, batch_size):
    """Within the block, `encoder` is its upper part and the yielded data are hidden states.

    Where that is impossible (no frozen layers, too many tokens, or an architecture in which the
    two halves do not give what the whole gives) the encoder and `data` stay as they are.

    Parameters
    ----------
    encoder : torch.nn.Module
        A transformers model, on the CPU.
    data : TextRows
        Token ids.
    n_layers : int
        How many of the lowest layers, and the embeddings, are frozen.
    batch_size : int
        Texts per batch of the one pass.
    """
    layers = longest_layers(encoder)[2]
    states = None
    if 0 < n_layers < len(layers) and hasattr(encoder, "embeddings"):
        n_bytes = 4 * encoder.config.hidden_size * sum(map(len, data.rows))
        if n_bytes <= _MAX_BYTES:
            states = _lower_states(encoder, data, n_layers, batch_size)
    if states is None:
        yield data
        return
    with _part(encoder, upper_from=n_layers):
        yield data.with_rows(states)


def _lower_states(encoder, data, n_layers, batch_size):
    """Hidden states after the lower layers, one array (tokens, d) per text; None if unusable."""
    if not _splits(encoder, data, n_layers):
        return None
    encoder.eval()
    states = [None] * len(data)
    with torch.inference_mode(), _part(encoder, lower_to=n_layers):
        for index in batches_by_length([len(row) for row in data.rows], batch_size):
            ids, mask = pad([data.rows[i] for i in index], data.pad_id)
            hidden = encoder(input_ids=ids, attention_mask=mask).last_hidden_state.numpy()
            for row, i in zip(hidden, index, strict=True):
                states[i] = row[: len(data.rows[i])].copy()
    return states


def _splits(encoder, data, n_layers):
    """Whether the upper part on top of the lower part gives what the whole encoder gives."""
    encoder.eval()
    ids, mask = pad(data.rows[:2], data.pad_id)
    try:
        with torch.inference_mode():
            whole = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            with _part(encoder, lower_to=n_layers):
                lower = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            with _part(encoder, upper_from=n_layers):
                both = encoder(inputs_embeds=lower, attention_mask=mask).last_hidden_state
    except Exception:  # an architecture of another form: train it the plain way
        return False
    inside = mask.bool().numpy()
    difference = np.abs(whole.numpy() - both.numpy())[inside].max()
    return bool(difference < _SAME_VECTOR)


@contextmanager
def _part(encoder, *, lower_to=None, upper_from=None):
    """Take layers away for the time of the block."""
    owner, name, layers = longest_layers(encoder)
    embeddings = encoder.embeddings
    kept = layers[:lower_to] if upper_from is None else layers[upper_from:]
    setattr(owner, name, torch.nn.ModuleList(kept))
    if upper_from is not None:
        encoder.embeddings = _PassThrough()
    try:
        yield
    finally:
        setattr(owner, name, layers)
        encoder.embeddings = embeddings
