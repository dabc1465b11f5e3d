"""The training loop: comparison with a plain loop, resumption, and errors."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from distspec.core.errors import TrainingDivergedError, TrainingError
from distspec.models.batch import Batch
from distspec.models.config import VAEConfig
from distspec.pipeline.recipes import paper
from distspec.training.config import TrainingConfig
from distspec.training.distributed import ProcessGroup
from distspec.training.sampler import get_step_rows
from distspec.training.state import seed_torch
from distspec.training.trainer import fit
from tests.training.build_store import L, make_spectra, make_state, make_trainer, state_dicts_equal

N_EPOCHS = 4


@pytest.fixture(scope="module")
def batch():
    return make_spectra(200)


class Plain(nn.Module):
    """The published model, written independently of distspec; ``off`` names a regularizer to leave out."""

    def __init__(self, off):
        super().__init__()
        rates = [0.0] * 4 if off == "dropout" else [0.2, 0.2, 0.2, 0.1]
        norm = nn.Identity if off == "batch norm" else nn.BatchNorm1d
        widths = [L, 512, 256, 128, 64]

        def stack(widths, rates):
            layers = []
            for i, o, rate in zip(widths, widths[1:], rates, strict=False):
                layers += [nn.Linear(i, o), norm(o), nn.ReLU(), nn.Dropout(rate)]
            return nn.Sequential(*layers)

        self.encoder = stack(widths, rates)
        self.to_mean, self.to_log_var = nn.Linear(64, 16), nn.Linear(64, 16)
        self.decoder = stack([16, 64, 128, 256, 512], rates[::-1])
        self.to_output = nn.Linear(512, L)
        self.off = off

    def loss(self, flux, ivar):
        seen = ivar > 0
        x = torch.arcsinh(torch.where(seen, flux, torch.zeros(())))
        hidden = self.encoder(x)
        mean, log_var = self.to_mean(hidden), self.to_log_var(hidden)
        noise = torch.randn_like(mean)
        z = mean + torch.exp(log_var / 2) * noise
        x_hat = self.to_output(self.decoder(z))
        recon = (((x - x_hat) ** 2) * seen).sum() / len(x)
        kl = -0.5 * (1 + log_var - mean**2 - log_var.exp()).sum() / len(x)
        kernels = [
            m.weight for stack in (self.encoder, self.decoder) for m in stack if hasattr(m, "in_features")
        ]
        l2 = 1e-3 * sum((kernel**2).sum() for kernel in kernels)
        off = self.off
        return recon + (0 if off == "kl" else kl) + (0 if off == "l2" else l2)


def plain_losses(first_weights, batch, orders, off=""):
    """Train with Adam, clipping and a staircase in a plain loop; return each epoch's mean loss."""
    model = Plain(off)
    model.load_state_dict(first_weights, strict=False)
    adam = torch.optim.Adam(model.parameters(), lr=1e-4)
    staircase = torch.optim.lr_scheduler.StepLR(adam, 5, 1.0 if off == "decay" else 0.5)
    seed_torch(7, ProcessGroup(), 0)
    means = []
    for order in orders:
        losses = []
        for rows in order:
            loss = model.loss(batch.spectrum.value[rows], batch.spectrum.ivar[rows])
            adam.zero_grad()
            loss.backward()
            if off != "clipping":
                nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            adam.step()
            staircase.step()
            losses.append(loss.item())
        means.append(np.mean(losses))
    return means


@pytest.fixture(scope="module")
def published_run(batch):
    """The recipe `paper` with a steeper staircase: first weights, order of the rows, and losses."""
    recipe = paper("unused")
    config = replace(recipe.training, max_epochs=N_EPOCHS, lr_decay=0.5, lr_decay_steps=5)
    state = make_state(config, recipe.vae)
    first = copy.deepcopy(state.vae.state_dict())
    trainer = make_trainer(batch, batch, config)
    fit(state, trainer)
    epochs = [trainer.sampler.plan_epoch(i, 1) for i in range(N_EPOCHS)]
    orders = [[get_step_rows(epoch, 0, step) for step in range(epoch.n_steps)] for epoch in epochs]
    return first, orders, [epoch.train["total"] for epoch in state.history]


def test_published_recipe_equals_a_plain_loop(batch, published_run):
    first, orders, ours = published_run
    assert [len(order) for order in orders] == [3] * N_EPOCHS
    assert ours == pytest.approx(plain_losses(first, batch, orders), rel=1e-5)


@pytest.mark.parametrize("off", ["dropout", "batch norm", "kl", "l2", "clipping", "decay"])
def test_every_regularizer_acts(batch, published_run, off):
    first, orders, ours = published_run
    without = plain_losses(first, batch, orders, off)
    assert without[-1] != pytest.approx(ours[-1], rel=1e-4), f"the losses are the same without {off}"


def test_fit_learns_and_is_reproducible(batch):
    config = TrainingConfig(learning_rate=3e-3, max_epochs=15)

    def run():
        state = make_state(config)
        return fit(state, make_trainer(batch, batch, config)), state.history

    (best, history), (again, _) = run(), run()
    assert history[-1].validation["recon"] < 0.7 * history[0].validation["recon"]
    assert best.best_loss == min(epoch.validation["recon"] for epoch in history)
    assert {"epoch", "train_total", "train_recon", "val_recon", "val_kl", "lr", "seconds"} <= set(
        history[0].to_row()
    )
    assert again.best_loss == best.best_loss
    assert state_dicts_equal(best.best_state_dict, again.best_state_dict)


def test_fit_stops_early(batch):
    config = TrainingConfig(learning_rate=1e-12, patience=3, max_epochs=100)
    state = make_state(config)
    # Running statistics drift because of dropout: freeze them, so that nothing can improve.
    for layer in state.vae.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.momentum = 0.0
    fit(state, make_trainer(batch, batch, config))
    assert len(state.history) < 20


def test_early_stopping_counts_from_the_first_epoch(batch):
    """A model that only becomes worse keeps the weights of its first epoch."""
    config = TrainingConfig(learning_rate=1.0, max_epochs=4, patience=50)
    state = make_state(config, VAEConfig(hidden_sizes=(32, 16), dropout=(0.0, 0.0), n_latents=4))
    validation = iter([1.0, 2.0, 3.0, 4.0])
    state.vae.compute_validation_loss = lambda b: {
        "recon": torch.tensor(next(validation) * len(b)),
        "kl": torch.tensor(0.0),
    }
    best = fit(state, make_trainer(batch, batch, config))
    assert (best.best_epoch, best.best_loss) == (0, 1.0)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("at", [1, 3, 8])
def test_resumed_training_ends_with_the_same_weights(batch, tmp_path, streamed, at):
    """Interrupted in the middle of an epoch, at its end, or before the first validation."""
    config = TrainingConfig(learning_rate=1e-3, max_epochs=5, shuffle_window_chunks=3)
    whole = make_state(config)
    best = fit(whole, make_trainer(batch, batch, config, streamed=streamed))

    class Interrupted(Exception):
        pass

    with_checkpoints = replace(config, checkpoint_interval_steps=at)
    trainer = make_trainer(batch, batch, with_checkpoints, checkpoints=str(tmp_path), streamed=streamed)
    save = trainer.checkpoint_manager.save

    def save_and_interrupt(state, plan):
        save(state, plan)
        raise Interrupted

    trainer.checkpoint_manager.save = save_and_interrupt
    with pytest.raises(Interrupted):
        fit(make_state(config), trainer)
    state = make_state(config, seed=5)  # the initial weights must not matter
    torch.manual_seed(99)
    again = fit(state, make_trainer(batch, batch, config, checkpoints=str(tmp_path), streamed=streamed))
    assert state_dicts_equal(again.best_state_dict, best.best_state_dict)
    assert state_dicts_equal(state.vae.state_dict(), whole.vae.state_dict())
    for ours, theirs in zip(state.history, whole.history, strict=True):
        assert replace(ours, seconds=0.0) == replace(theirs, seconds=0.0)


def test_checkpoint_of_other_rows_is_not_used(batch, tmp_path, caplog):
    config = TrainingConfig(max_epochs=1, checkpoint_interval_steps=2)
    fit(make_state(config), make_trainer(batch, batch, config, checkpoints=str(tmp_path)))
    fewer = batch[:150]
    state = make_state(config)
    fit(
        state,
        make_trainer(fewer, batch, replace(config, checkpoint_interval_steps=0), checkpoints=str(tmp_path)),
    )
    assert "training starts again" in caplog.text
    plain = make_state(config)
    fit(plain, make_trainer(fewer, batch, config))
    assert state_dicts_equal(state.vae.state_dict(), plain.vae.state_dict())


def test_preemption_saves_one_checkpoint(batch, tmp_path, monkeypatch):
    monkeypatch.setattr("distspec.training.checkpoint.CLOCK_CHECK_STEPS", 1)
    monkeypatch.setattr("distspec.training.checkpoint.PREEMPTION_POLL_SECONDS", 0.0)
    config = TrainingConfig(max_epochs=2)
    calls = []
    preemption = {"is_preempted": lambda: calls.append(0) or len(calls) >= 2}
    trainer = make_trainer(batch, batch, config, checkpoints=str(tmp_path), **preemption)
    fit(make_state(config), trainer)
    assert [path.name for path in tmp_path.iterdir()] == ["0000000002"]


@pytest.mark.parametrize("step", [0, 4])
def test_error_for_a_gradient_that_is_not_finite_names_the_spectra(batch, step):
    """One of 200 spectra has a bad value; training stops at the first step that uses it."""
    config = TrainingConfig(max_epochs=3)
    trainer = make_trainer(batch, batch, config)
    epoch = trainer.sampler.plan_epoch(step // 3, 1)
    rows = get_step_rows(epoch, 0, step % 3)
    bad = int(rows[17])
    if step:  # choose a spectrum that no step of the first epoch uses
        before = trainer.sampler.plan_epoch(0, 1)
        seen = np.concatenate([get_step_rows(before, 0, s) for s in range(3)])
        fresh = np.setdiff1d(np.concatenate([get_step_rows(epoch, 0, s) for s in range(3)]), seen)
        bad = int(fresh[0])
        step = 3 + next(s for s in range(3) if bad in get_step_rows(epoch, 0, s))
        rows = get_step_rows(epoch, 0, step - 3)
    value = batch.spectrum.value.clone()
    ivar = batch.spectrum.ivar.clone()
    value[bad, 5], ivar[bad, 5] = float("nan"), 100.0
    damaged = Batch.from_spectra(value, ivar, batch.z)
    with pytest.raises(TrainingDivergedError) as caught:
        fit(make_state(config), make_trainer(damaged, batch, config))
    message = str(caught.value)
    assert f"gradient of step {step} " in message
    assert f"not finite in o{bad};" in message
    assert all(f"o{row}" in message for row in rows)


def test_error_for_bad_weights_names_no_spectrum(batch):
    state = make_state(TrainingConfig())
    with torch.no_grad():
        state.vae.to_output.bias.fill_(float("inf"))
    with pytest.raises(
        TrainingDivergedError, match=r"gradient of step 0 .* is not finite: also in its batch"
    ):
        fit(state, make_trainer(batch, batch, TrainingConfig(max_epochs=2)))


def test_too_few_rows_for_a_step_are_refused(batch):
    """One chunk cannot be divided between two workers."""
    trainer = make_trainer(batch[:10], batch, TrainingConfig(batch_size=4), ProcessGroup(0, 2), streamed=True)
    trainer.checkpoint_manager.restore_latest = lambda state: True
    with pytest.raises(TrainingError, match=r"lower training\.workers"):
        fit(make_state(TrainingConfig()), trainer)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_gpu_reaches_the_loss_of_the_cpu(batch):
    config = TrainingConfig(learning_rate=3e-3, max_epochs=10)
    vae = VAEConfig(hidden_sizes=(32, 16), dropout=(0.0, 0.0), n_latents=4)
    results = []
    for device in (torch.device("cpu"), torch.device("cuda")):
        state = make_state(config, vae)
        state.vae.to(device)
        here = batch.to(device)
        results.append(fit(state, make_trainer(here, here, config, ProcessGroup(device=device))).best_loss)
    # Random draws differ between devices: the optimum is the same, the path is not.
    assert results[1] == pytest.approx(results[0], rel=0.25)
