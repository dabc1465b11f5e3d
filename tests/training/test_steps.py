"""Settings, learning rate, early stopping, one step, and validation."""

import math
from dataclasses import fields

import pytest
import torch

from distspec.core.errors import ConfigError
from distspec.training.config import EXECUTION_SETTINGS, TrainingConfig, learning_rate
from distspec.training.distributed import ProcessGroup
from distspec.training.state import EarlyStopping
from distspec.training.steps import train_step, validate
from tests.training.build_store import make_spectra, make_state

ALONE = ProcessGroup()


def test_published_settings_are_the_defaults():
    config = TrainingConfig()
    assert (config.batch_size, config.learning_rate, config.lr_decay, config.lr_decay_steps) == (
        64,
        1e-4,
        0.95,
        500,
    )
    assert (config.max_grad_norm, config.patience, config.validation_fraction) == (2.0, 50, 0.15)


def test_learning_rate_is_a_staircase():
    rates = [learning_rate(TrainingConfig(), step) for step in range(1501)]
    assert rates[0] == rates[499] == pytest.approx(1e-4)
    assert rates[500] == rates[999] == pytest.approx(1e-4 * 0.95)
    assert rates[1500] == pytest.approx(1e-4 * 0.95**3)
    parameter = torch.nn.Parameter(torch.zeros(1))
    staircase = torch.optim.lr_scheduler.StepLR(torch.optim.Adam([parameter], lr=1e-4), 500, 0.95)
    for rate in rates:
        assert rate == pytest.approx(staircase.get_last_lr()[0], rel=1e-12)
        staircase.optimizer.step()
        staircase.step()


def test_early_stopping_after_50_epochs_without_an_improvement():
    stopping = EarlyStopping(50)
    values = [5.0, 4.0, 3.0] + [3.5] * 60
    stops = [stopping.update(epoch, value, {"w": torch.tensor(value)}) for epoch, value in enumerate(values)]
    assert stops.index(True) == 2 + 50
    assert stopping.best_epoch == 2
    assert stopping.best_state_dict["w"].item() == 3.0


def test_best_weights_are_copied():
    weight = torch.nn.Parameter(torch.tensor(1.0))
    stopping = EarlyStopping(5)
    stopping.update(0, 1.0, {"w": weight})
    with torch.no_grad():
        weight.fill_(9.0)
    stopping.update(1, 2.0, {"w": weight})
    assert stopping.best_state_dict["w"].item() == 1.0


@pytest.mark.parametrize("max_grad_norm", [0.5, 1e9])
def test_gradients_are_clipped_and_the_norm_before_is_returned(max_grad_norm):
    config = TrainingConfig(max_grad_norm=max_grad_norm)
    state, batch = make_state(config), make_spectra(64)
    _, norm = train_step(state, batch, config, ALONE, 1.0)
    gradient = torch.cat([p.grad.flatten() for p in state.vae.parameters() if p.grad is not None]).norm()
    assert norm > 0.6, "the gradient of an untrained model is large"
    assert gradient.item() == pytest.approx(min(norm.item(), max_grad_norm), rel=1e-4)


def test_gradients_are_clipped_one_by_one():
    config = TrainingConfig(max_grad_norm=0.05, clip_each_gradient=True)
    state, batch = make_state(config), make_spectra(64)
    _, norm = train_step(state, batch, config, ALONE, 1.0)
    norms = [p.grad.norm().item() for p in state.vae.parameters() if p.grad is not None]
    assert max(norms) == pytest.approx(0.05, rel=1e-4)
    assert norm > math.hypot(*norms) > 0.05


def test_learning_rate_is_set_at_each_step():
    config = TrainingConfig(learning_rate=1e-3, lr_decay=0.5, lr_decay_steps=1)
    state, batch = make_state(config), make_spectra(64)
    for state.step in range(3):
        train_step(state, batch, config, ALONE, 1.0)
        assert state.optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 * 0.5**state.step)


def test_validation_loss_does_not_depend_on_the_batches():
    state, batch = make_state(TrainingConfig()), make_spectra(50)
    single = validate(state.vae, iter([batch]), ALONE)
    divided = validate(state.vae, iter([batch[i : i + 7] for i in range(0, 50, 7)]), ALONE)
    assert set(single) >= {"recon", "kl"}
    assert single == pytest.approx(divided, rel=1e-5)
    with torch.no_grad():
        state.vae.eval()
        expected = float(state.vae.compute_validation_loss(batch)["recon"]) / 50
    assert single["recon"] == pytest.approx(expected, rel=1e-6)


def test_every_setting_is_either_defining_or_for_execution():
    """A new setting is defining by default, so that it changes the name of the model."""
    assert set(TrainingConfig().get_defining_settings()) | EXECUTION_SETTINGS == {
        field.name for field in fields(TrainingConfig)
    }
    assert (
        TrainingConfig(threads=4, use_gpu=True, checkpoint_interval_minutes=1.0).get_defining_settings()
        == TrainingConfig().get_defining_settings()
    )
    assert TrainingConfig(cache_mb=1.0).get_defining_settings() != TrainingConfig().get_defining_settings()


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 3, "workers": 2},
        {"batch_size": 1},
        {"workers": 2, "min_workers": 3},
        {"validation_fraction": 0.0},
        {"learning_rate": float("nan")},
        {"lr_decay": 5.0},
        {"max_epochs": 0},
        {"workers": 0},
        {"shuffle_window_chunks": 0},
        {"prefetch_windows": -1},
        {"cache_mb": -1.0},
        {"checkpoint_interval_minutes": 0.0},
        {"checkpoint_interval_steps": -1},
        {"max_failures": -2},
    ],
)
def test_invalid_settings_are_refused(settings):
    with pytest.raises(ConfigError, match=r"training\."):
        TrainingConfig(**settings)


def test_batch_size_need_not_be_a_multiple_of_the_workers():
    assert TrainingConfig(batch_size=64, workers=3).workers == 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_bfloat16_on_a_gpu_agrees_with_float32():
    losses = []
    for bf16 in (True, False):
        config = TrainingConfig(bf16=bf16)
        state = make_state(config)
        state.vae.to("cuda")
        process_group = ProcessGroup(device=torch.device("cuda"))
        torch.manual_seed(1)
        losses.append(
            float(train_step(state, make_spectra(64).to("cuda"), config, process_group, 1.0)[0]["total"])
        )
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
