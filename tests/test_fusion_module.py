"""The torch module and its net: parts that sum up, draws of its own, weights that come back."""

import copy
import pickle

import numpy as np
import pytest
import torch

from sklfusion import FusionMLP
from sklfusion.exceptions import TrainingDivergedError
from sklfusion.fusion._module import SeededDropout
from sklfusion.fusion._net import (
    MemoryBatches,
    forward,
    make_net,
    net_from_state,
    net_state,
    train,
)

#: An encoder of 4 dimensions, LLMs with 3 and 3 coded scores, three classes.
SHAPE = {"n_encoder": 4, "block_sizes": (3, 3), "n_classes": 3}


def make_inputs(n=12, seed=0):
    """Arguments of the module as arrays, the second LLM silent in every third row."""
    rng = np.random.default_rng(seed)
    answered = np.ones((n, 2))
    answered[::3, 1] = 0
    return {
        "encoder": rng.normal(size=(n, 4)),
        "codes": rng.normal(size=(n, 6)),
        "answered": answered,
    }


def as_tensors(inputs):
    """The same in single precision."""
    return {name: torch.as_tensor(value, dtype=torch.float32) for name, value in inputs.items()}


def untrained(family="softmax", module=None, **params):
    """An initialised net."""
    settings = {
        "family": family,
        "lr": 0.01,
        "max_epochs": 3,
        "batch_size": 8,
        "patience": None,
        "seed": 0,
        "device": "cpu",
        "verbose": 0,
    }
    return make_net(SHAPE | (module or {}), **(settings | params)).initialize()


@pytest.mark.parametrize("mix", [False, True])
@pytest.mark.parametrize("mlp", [False, True])
def test_the_parts_sum_to_the_logits(mix, mlp):
    """Prior, encoder, both LLMs, and what else there is."""
    module = FusionMLP(**SHAPE, anchor=True, mix=mix, mlp=mlp).eval()
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.copy_(torch.sin(torch.arange(parameter.numel()) + number).view_as(parameter))
    inputs = as_tensors(make_inputs())
    parts = dict(module.contributions(**inputs))
    names = ["prior", "encoder", "block_0", "block_1"] + ["mix"] * mix + ["mlp"] * mlp
    assert list(parts) == names
    torch.testing.assert_close(sum(parts.values()), module(**inputs))
    assert all(part.shape == (12, 3) for part in parts.values())


def test_a_silent_llm_adds_exactly_nothing():
    """Whatever its codes and the bias of its table are."""
    module = FusionMLP(**SHAPE, anchor=True, mlp=False).eval()
    with torch.no_grad():
        module.anchor["table_1"].fill_(2.0)
        module.anchor["table_bias_1"].fill_(5.0)
    inputs = make_inputs()
    said = dict(module.contributions(**as_tensors(inputs)))["block_1"].detach().numpy()
    silent = inputs["answered"][:, 1] == 0
    assert np.abs(said[silent]).max() == 0
    assert np.abs(said[~silent]).min() > 0


def test_a_residual_starts_at_zero_and_a_plain_network_does_not():
    """Untrained, the anchored model is its sum of evidence."""
    inputs = as_tensors(make_inputs())
    anchored = FusionMLP(**SHAPE, anchor=True).eval()
    assert dict(anchored.contributions(**inputs))["mlp"].abs().max() == 0
    assert FusionMLP(**SHAPE).eval()(**inputs).abs().min() > 0


def test_an_offset_takes_the_place_of_the_anchor():
    """So the residual learns what the given logits leave over."""
    module = FusionMLP(**SHAPE, anchor=True).eval()
    with torch.no_grad():
        module.anchor["bias"].fill_(7.0)
        module.mlp[-1].bias.fill_(0.25)
    inputs, offset = as_tensors(make_inputs()), torch.arange(36.0).view(12, 3)
    torch.testing.assert_close(module(**inputs, offset=offset), offset + 0.25)


def test_the_scale_of_an_input_goes_with_its_column():
    """Halving a column and doubling its factor is the same network."""
    inputs, scale = as_tensors(make_inputs()), np.ones(12)
    plain = FusionMLP(**SHAPE, input_scale=scale).eval()(**inputs)
    scale[2] = 2.0
    inputs["encoder"][:, 2] /= 2
    torch.testing.assert_close(FusionMLP(**SHAPE, input_scale=scale).eval()(**inputs), plain)


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh", "silu"])
def test_every_activation_is_another_network(activation):
    """Same weights, other answers; linear without hidden layers."""
    inputs = as_tensors(make_inputs())
    found = FusionMLP(**SHAPE, activation=activation).eval()(**inputs)
    others = [FusionMLP(**SHAPE, activation=a).eval()(**inputs) for a in ("relu", "tanh")]
    equal = [torch.equal(found, other) for other in others]
    assert equal == [activation == "relu", activation == "tanh"]
    linear = FusionMLP(**SHAPE, activation=activation, hidden_layer_sizes=()).eval()
    assert len(linear.mlp) == 1


def test_an_unknown_activation_is_named_with_the_known():
    with pytest.raises(ValueError, match=r"activation='swish'; it must be one of \['relu', "):
        FusionMLP(**SHAPE, activation="swish")


def test_a_seed_is_a_network_and_torchs_generator_is_left_alone():
    """Weights and dropout draw from generators of their own."""
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, same, other = (FusionMLP(**SHAPE, seed=seed).mlp[0].weight for seed in (1, 1, 2))
    layer = SeededDropout(0.5)
    layer.generator = torch.Generator().manual_seed(0)
    layer(torch.ones(10, 10))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.abs().max() <= 12**-0.5  # torch's own law: 12 inputs


def test_dropout_zeroes_its_share_and_keeps_the_mean():
    """Half of ten thousand ones, doubled; nothing in evaluation, nothing at rate 0."""
    layer, ones = SeededDropout(0.5), torch.ones(100, 100)
    layer.generator = torch.Generator().manual_seed(0)
    dropped = layer(ones)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.05)
    assert layer.eval()(ones) is ones
    assert SeededDropout(0.0)(ones) is ones
    assert pickle.loads(pickle.dumps(layer)).generator is None


def test_dropout_without_a_generator_takes_torchs_own():
    """As any other layer does."""
    layer, ones = SeededDropout(0.5), torch.ones(20, 20)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        one = layer(ones)
        torch.manual_seed(1)
        assert torch.equal(layer(ones), one)
        assert not torch.equal(layer(ones), one)


class Rows:
    """Ten rows with their numbers as only feature."""

    X = {"number": np.arange(10)}
    y = np.arange(10)


@pytest.mark.parametrize("size", [1, 3, 10, 64])
def test_batches_hold_every_row_once(size):
    """Shuffled or not, features beside their targets; the last batch may be short."""
    for shuffle in (False, True):
        batches = MemoryBatches(Rows, size, shuffle=shuffle)
        found = [(x["number"].tolist(), y.tolist()) for x, y in batches]
        assert len(found) == len(batches) == -(-10 // size)
        assert all(x == y for x, y in found)
        assert sorted(n for _, y in found for n in y) == list(range(10))
        assert max(len(y) for _, y in found) == min(size, 10)


def test_an_epoch_is_shuffled_anew_and_a_seed_says_how():
    """Two epochs differ; two iterators of one seed do not."""

    def epochs(seed):
        batches = MemoryBatches(Rows, 10, shuffle=True, seed=seed)
        return [next(iter(batches))[1].tolist() for _ in range(2)]

    first, second = epochs(0)
    assert first != second
    assert epochs(0) == [first, second]
    assert epochs(1) != [first, second]


def test_a_row_of_weight_zero_does_not_train():
    """Whatever its target is."""
    inputs = {k: v.astype(np.float32) for k, v in make_inputs().items()}
    Y, weights = np.eye(3)[np.arange(12) % 3], np.ones(12)
    weights[4] = 0
    wrong = Y.copy()
    wrong[4] = np.roll(Y[4], 1)
    nets = [train(untrained(), inputs, T, weights, None, 0) for T in (Y, wrong)]
    logits = [forward(net.module_, inputs) for net in nets]
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-6)
    heavy = train(untrained(), inputs, Y, np.ones(12), None, 0)
    assert np.abs(forward(heavy.module_, inputs) - logits[0]).max() > 1e-5


def test_rows_that_watch_do_not_train():
    """Their targets are seen by early stopping alone, and the net keeps none of them."""
    inputs = {k: v.astype(np.float32) for k, v in make_inputs().items()}
    Y = np.eye(3)[np.arange(12) % 3]
    watch = np.arange(12) >= 9
    wrong = np.where(watch[:, None], np.roll(Y, 1, axis=1), Y)
    nets = [train(untrained(), inputs, T, np.ones(12), watch, 0) for T in (Y, wrong)]
    logits = [forward(net.module_, inputs) for net in nets]
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-6)
    assert nets[0].train_split is None
    losses = [net.history[-1]["valid_loss"] for net in nets]
    assert losses[0] != pytest.approx(losses[1])


@pytest.mark.parametrize("lr", [100.0, 1e6])  # the loss stays finite, or does not
@pytest.mark.parametrize("family", ["softmax", "sigmoid"])
def test_a_step_too_long_is_an_error_that_names_the_rate(family, lr):
    """The loss is far above that of a guess, or not finite; either way the rate is to blame."""
    inputs = {k: (1e4 * v).astype(np.float32) for k, v in make_inputs(40).items()}
    Y = np.eye(3)[np.random.default_rng(0).integers(3, size=40)]
    net = untrained(family, lr=lr, module={"hidden_layer_sizes": ()})
    with pytest.raises(TrainingDivergedError, match="Lower lr"):
        train(net, inputs, Y, np.ones(40), None, 0, epochs=5)


def test_features_that_are_not_finite_end_the_first_epoch():
    inputs = {k: v.astype(np.float32) for k, v in make_inputs().items()}
    inputs["encoder"][3, 1] = np.inf
    with pytest.raises(TrainingDivergedError, match=r"became (nan|inf) in epoch 1;"):
        train(untrained(), inputs, np.eye(3)[np.arange(12) % 3], np.ones(12), None, 0)


def test_blocks_of_rows_are_the_rows():
    """Also one row at a time, and none at all."""
    module, inputs = untrained(module={"anchor": True, "mix": True}).module_, make_inputs()
    whole = forward(module, inputs)
    np.testing.assert_allclose(forward(module, inputs, batch_rows=5), whole, atol=1e-6)
    nothing = {name: value[:0] for name, value in inputs.items()}
    assert forward(module, nothing).shape == (0, 3)


@pytest.mark.parametrize("family", ["softmax", "sigmoid"])
def test_a_net_comes_back_from_its_state_and_learns_on(family):
    """Same logits and, from there, the same further epoch."""
    inputs = {k: v.astype(np.float32) for k, v in make_inputs().items()}
    Y = np.eye(3)[np.arange(12) % 3]
    module = {"anchor": True, "mix": True, "hidden_layer_sizes": (5,), "dropout": 0.0}
    net = train(untrained(family, module=module), inputs, Y, np.ones(12), None, 0)
    again = net_from_state(net_state(net))
    np.testing.assert_allclose(
        forward(again.module_, inputs), forward(net.module_, inputs), atol=1e-6
    )
    copied = pickle.loads(pickle.dumps(net))
    for one in (copied, copy.deepcopy(net)):
        train(one, inputs, Y, np.ones(12), None, 1, epochs=1)
    more = train(net, inputs, Y, np.ones(12), None, 1, epochs=1)
    np.testing.assert_allclose(
        forward(copied.module_, inputs), forward(more.module_, inputs), atol=1e-4
    )
    assert len(copied.history) == len(more.history) == 4


@pytest.mark.parametrize("name", ["anchor.probe", "mlp.0.weight", "anchor.mix", "input_scale"])
def test_weights_of_another_shape_are_refused_by_name(name):
    """Before a net is made of them."""
    state = net_state(untrained(module={"anchor": True, "mix": True}))
    state["weights"] = state["weights"] | {name: np.zeros((2, 2), dtype=np.float32)}
    with pytest.raises(ValueError, match=f"first at .*{name}"):
        net_from_state(state)
    del state["weights"][name]
    with pytest.raises(ValueError, match=f"first at .*{name}"):
        net_from_state(state)
