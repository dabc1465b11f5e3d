import copy

import numpy as np
import pytest
import torch
from torch import nn

from distspec.training import (
    EarlyStopping,
    Sample,
    TrainingConfig,
    batches,
    fit,
    make_optimizer,
    train_epoch,
    validate,
)
from distspec.vae import SPECTRUM, SpectrumVAE, VAEConfig, embed

L = 24
SMALL = VAEConfig(hidden=(32, 16), dropout=(0.1, 0.1), n_latents=4)


def model(seed=0, config=SMALL):
    torch.manual_seed(seed)
    return SpectrumVAE({SPECTRUM: L}, config)


@pytest.fixture
def sample():
    generator = torch.Generator().manual_seed(3)
    factors = torch.randn(200, 2, generator=generator)
    shapes = torch.stack([torch.linspace(-1, 1, L), torch.linspace(-1, 1, L) ** 2])
    flux = 1.0 + factors @ shapes + 0.05 * torch.randn(200, L, generator=generator)
    return Sample(flux, torch.full((200, L), 400.0))


def test_the_papers_settings_are_the_defaults():
    config = TrainingConfig()
    assert (config.batch_size, config.learning_rate, config.decay, config.decay_steps) == (
        64,
        1e-4,
        0.95,
        500,
    )
    assert (config.clip_norm, config.patience, config.validation_share) == (2.0, 50, 0.15)


def test_learning_rate_falls_by_a_twentieth_every_500_steps():
    optimizer, schedule = make_optimizer(nn.Linear(2, 2), TrainingConfig())
    rates = []
    for _ in range(1501):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[0] == rates[499] == pytest.approx(1e-4)
    assert rates[500] == rates[999] == pytest.approx(1e-4 * 0.95)
    assert rates[1500] == pytest.approx(1e-4 * 0.95**3)


def test_early_stopping_waits_for_50_epochs_without_a_better_one():
    stopping = EarlyStopping(50)
    values = [5.0, 4.0, 3.0] + [3.5] * 60
    stops = [stopping.update(epoch, value, {"w": torch.tensor(value)}) for epoch, value in enumerate(values)]
    assert stops.index(True) == 2 + 50
    assert stopping.best_epoch == 2
    assert stopping.best_state["w"].item() == 3.0


def test_the_best_weights_are_kept_not_the_last():
    weight = nn.Parameter(torch.tensor(1.0))
    stopping = EarlyStopping(5)
    stopping.update(0, 1.0, {"w": weight})
    with torch.no_grad():
        weight.fill_(9.0)
    stopping.update(1, 2.0, {"w": weight})
    assert stopping.best_state["w"].item() == 1.0


def test_batches_hold_every_row_once():
    rows = list(batches(130, 64, torch.Generator().manual_seed(0)))
    assert [len(part) for part in rows] == [64, 64, 2]
    assert sorted(torch.cat(rows).tolist()) == list(range(130))
    # Batch norm has no variance of one.
    assert [len(part) for part in batches(129, 64, torch.Generator())] == [64, 64]


def test_gradients_are_clipped(sample, monkeypatch):
    norms = []
    vae = model()
    config = TrainingConfig(clip_norm=0.5)
    optimizer, schedule = make_optimizer(vae, config)
    step = optimizer.step

    def spy(*args, **kwargs):
        norms.append(torch.cat([p.grad.flatten() for p in vae.parameters()]).norm().item())
        return step(*args, **kwargs)

    monkeypatch.setattr(optimizer, "step", spy)
    train_epoch(vae, vae, sample, config, optimizer, schedule, torch.Generator().manual_seed(0))
    assert max(norms) <= 0.5 * (1 + 1e-5)
    assert min(norms) > 0.4, "an untrained model's gradients are long: all should be at the limit"


def test_validation_is_the_mean_over_spectra_whatever_the_batches(sample):
    vae = model()
    one, many = (validate(vae, sample, batch_size=size) for size in (7, 1000))
    assert torch.allclose(one, many, rtol=1e-5)
    expected = embed(vae, sample.flux, sample.ivar)["recon_mse"].sum() * L
    assert one[0].item() == pytest.approx(expected.item(), rel=1e-4)
    assert one[2].item() == len(sample)


def test_fit_learns_and_repeats_exactly(sample):
    config = TrainingConfig(learning_rate=3e-3, max_epochs=15)

    def run():
        vae, history = model(), []
        torch.manual_seed(11)
        best = fit(vae, vae, sample, sample, config, 5, history.append)
        return best, history

    (best, history), (again, _) = run(), run()
    assert history[-1]["val_recon"] < 0.5 * history[0]["val_recon"]
    assert best.best == min(row["val_recon"] for row in history)
    assert again.best == best.best
    assert all(torch.equal(best.best_state[name], again.best_state[name]) for name in best.best_state)


def test_fit_stops_early(sample):
    vae, history = model(), []
    config = TrainingConfig(learning_rate=1e-12, patience=3, max_epochs=100)
    # With dropout the running statistics still drift: freeze them so that nothing can improve.
    for layer in vae.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.momentum = 0.0
    fit(vae, vae, sample, sample, config, 0, history.append)
    assert len(history) < 20


def test_a_plain_loop_gives_the_same_losses(sample):
    """The paper's step written out once more, with nothing of ours but the module's weights."""
    config = TrainingConfig(learning_rate=1e-3, batch_size=50)
    ours = model(config=VAEConfig(hidden=(32, 16), dropout=(0.0, 0.0), n_latents=4))
    plain = copy.deepcopy(ours)
    optimizer, schedule = make_optimizer(ours, config)
    torch.manual_seed(2)
    row = train_epoch(ours, ours, sample, config, optimizer, schedule, torch.Generator().manual_seed(9))

    adam = torch.optim.Adam(plain.parameters(), lr=1e-3)
    torch.manual_seed(2)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(9))
    totals = []
    plain.train()
    for rows in order.split(50):
        x = torch.arcsinh(sample.flux[rows])
        hidden = plain.encoder(x)
        mean, log_var = plain.to_mean(hidden), plain.to_log_var(hidden)
        z = mean + torch.exp(log_var / 2) * torch.randn_like(mean)
        x_hat = plain.to_output(plain.decoder(z))
        loss = ((x - x_hat) ** 2).sum() / 50
        loss = loss - 0.5 * (1 + log_var - mean**2 - log_var.exp()).sum() / 50
        for stack in (plain.encoder, plain.decoder):
            loss = loss + 1e-3 * sum((m.weight**2).sum() for m in stack if isinstance(m, nn.Linear))
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 2.0)
        adam.step()
        totals.append(loss.item())
    assert row["train_loss"] == pytest.approx(np.mean(totals), rel=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run(sample):
    vae = model()
    with torch.no_grad():
        vae.to_output.bias.fill_(float("inf"))
    with pytest.raises(FloatingPointError, match="epoch 0"):
        fit(vae, vae, sample, sample, TrainingConfig(max_epochs=2), 0, lambda row: None)


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 63, "workers": 2},
        {"batch_size": 2, "workers": 2},
        {"validation_share": 0.0},
        {"learning_rate": float("nan")},
        {"decay": 5.0},
        {"max_epochs": 0},
        {"workers": 0},
    ],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match=r"training\."):
        TrainingConfig(**settings)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_a_gpu_trains_like_the_cpu(sample):
    config = TrainingConfig(learning_rate=3e-3, max_epochs=10)
    results = []
    for device in ("cpu", "cuda"):
        vae = model(config=VAEConfig(hidden=(32, 16), dropout=(0.0, 0.0), n_latents=4)).to(device)
        here = Sample(sample.flux.to(device), sample.ivar.to(device))
        results.append(fit(vae, vae, here, here, config, 5, lambda row: None).best)
    # The draws of z differ between devices: the same optimum, not the same path.
    assert results[1] == pytest.approx(results[0], rel=0.25)
