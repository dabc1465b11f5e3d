import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from torch import nn

from distspec.models.layers import Scale, SpectrumSmoother, init_glorot, make_hidden_layers


@pytest.mark.parametrize("step", [3.0, 30.0, 300.0])
def test_smoothing_equals_that_of_scipy_in_each_range(rng, step):
    wave = np.arange(1100.0, 8400.0, step)
    flux = rng.normal(size=(5, len(wave)))
    flux[:, 10:14] = 0.0
    first, second = (int(np.abs(wave - limit).argmin()) for limit in (3000.0, 6000.0))
    expected = np.concatenate(
        [
            gaussian_filter1d(flux[:, :first], 2.0),
            gaussian_filter1d(flux[:, first:second], 1.5),
            gaussian_filter1d(flux[:, second:], 1.0),
        ],
        axis=1,
    )
    assert np.allclose(SpectrumSmoother(wave)(torch.from_numpy(flux)).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("limits", [(1100.0, 2500.0), (6600.0, 25400.0)])
def test_a_grid_need_not_reach_all_ranges(limits):
    flux = torch.ones(2, 64)
    assert torch.allclose(SpectrumSmoother(np.linspace(*limits, 64))(flux), flux)


def test_scale_layers_follow_the_activation():
    layers = make_hidden_layers(5, (4, 3), (0.0, 0.0), "scale")
    assert [type(layer) for layer in layers] == [nn.Linear, nn.ReLU, Scale, nn.Dropout] * 2
    x = torch.randn(6, 5)
    expected = torch.relu(layers[4](torch.relu(layers[0](x))))
    assert torch.equal(layers(x), expected), "they begin as the identity"
    with torch.no_grad():
        layers[6].weight.fill_(2.0)
        layers[6].bias.fill_(1.0)
    assert torch.equal(layers(x), 2.0 * expected + 1.0)


def test_initial_weights_have_the_variance_of_glorot():
    torch.manual_seed(0)
    layers = make_hidden_layers(600, (400,), (0.0,))
    init_glorot(layers)
    weight, bias = layers[0].weight, layers[0].bias
    assert weight.var().item() == pytest.approx(2.0 / 1000.0, rel=0.02)
    assert weight.abs().max().item() <= np.sqrt(6.0 / 1000.0)
    assert not bias.any()
