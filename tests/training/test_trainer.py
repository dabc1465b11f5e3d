"""The whole loop: against a plain one, against itself after a break, and where it must stop."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from distspec.models.batch import Batch
from distspec.models.config import VAEConfig
from distspec.pipeline.recipes import paper
from distspec.training.config import TrainingConfig
from distspec.training.distributed import ProcessGroup
from distspec.training.sampler import get_step_rows
from distspec.training.state import seed_torch
from distspec.training.trainer import fit
from tests.training.build_store import L, same, small_state, spectra, work_on

N_EPOCHS = 4


@pytest.fixture(scope="module")
def batch():
    return spectra(200)


class Plain(nn.Module):
    """The paper's model, written out once more with nothing of ours."""

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
    """Train with Adam, clipping and a staircase as any script would; return each epoch's mean loss."""
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
def papers(batch):
    """The paper's recipe as we train it, but for the staircase: first weights, orders, losses."""
    recipe = paper("unused")
    config = replace(recipe.training, max_epochs=N_EPOCHS, lr_decay=0.5, lr_decay_steps=5)
    state = small_state(config, recipe.vae)
    first = copy.deepcopy(state.vae.state_dict())
    work = work_on(batch, batch, config)
    fit(state, work)
    epochs = [work.sampler.plan_epoch(i, 1) for i in range(N_EPOCHS)]
    orders = [[get_step_rows(epoch, 0, step) for step in range(epoch.n_steps)] for epoch in epochs]
    return first, orders, [epoch.train["total"] for epoch in state.history]


def test_the_papers_recipe_trains_as_a_plain_loop_does(batch, papers):
    first, orders, ours = papers
    assert [len(order) for order in orders] == [3] * N_EPOCHS
    assert ours == pytest.approx(plain_losses(first, batch, orders), rel=1e-5)


@pytest.mark.parametrize("off", ["dropout", "batch norm", "kl", "l2", "clipping", "decay"])
def test_each_of_its_regularisers_is_live(batch, papers, off):
    first, orders, ours = papers
    without = plain_losses(first, batch, orders, off)
    assert without[-1] != pytest.approx(ours[-1], rel=1e-4), f"training goes the same way without {off}"


def test_fit_learns_and_repeats_exactly(batch):
    config = TrainingConfig(learning_rate=3e-3, max_epochs=15)

    def run():
        state = small_state(config)
        return fit(state, work_on(batch, batch, config)), state.history

    (best, history), (again, _) = run(), run()
    assert history[-1].validation["recon"] < 0.7 * history[0].validation["recon"]
    assert best.best_loss == min(epoch.validation["recon"] for epoch in history)
    assert {"epoch", "train_total", "train_recon", "val_recon", "val_kl", "lr", "seconds"} <= set(
        history[0].to_row()
    )
    assert again.best_loss == best.best_loss
    assert same(best.best_state_dict, again.best_state_dict)


def test_fit_stops_early(batch):
    config = TrainingConfig(learning_rate=1e-12, patience=3, max_epochs=100)
    state = small_state(config)
    # With dropout the running statistics still drift: freeze them so that nothing can improve.
    for layer in state.vae.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.momentum = 0.0
    fit(state, work_on(batch, batch, config))
    assert len(state.history) < 20


class Annealed(VAEConfig):
    """An objective that changes until step 10."""

    @property
    def n_annealing_steps(self) -> int:
        return 10


def test_an_objective_that_still_changes_is_not_judged(batch):
    """Three steps an epoch: the fourth is the first to count, though those before were better."""
    vae = Annealed(hidden_sizes=(32, 16), dropout=(0.0, 0.0), n_latents=4)
    config = TrainingConfig(learning_rate=1e-3, max_epochs=6, patience=1)
    state = small_state(config, vae)
    assert fit(state, work_on(batch, batch, config)).best_epoch >= 3
    short = replace(config, max_epochs=2)
    state = small_state(short, vae)
    best = fit(state, work_on(batch, batch, short))
    assert (best.best_epoch, same(best.best_state_dict, state.vae.state_dict())) == (1, True)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("at", [1, 3, 8])
def test_a_broken_run_ends_with_the_same_weights(batch, tmp_path, streamed, at):
    """Broken after any step: in the middle of an epoch, at its end, before the first validation."""
    config = TrainingConfig(learning_rate=1e-3, max_epochs=5, shuffle_window_chunks=3)
    whole = small_state(config)
    best = fit(whole, work_on(batch, batch, config, streamed=streamed))

    class Broken(Exception):
        pass

    kept = replace(config, checkpoint_interval_steps=at)
    work = work_on(batch, batch, kept, checkpoints=str(tmp_path), streamed=streamed)
    keep = work.checkpoint_manager.save

    def keep_and_die(state, epoch):
        keep(state, epoch)
        raise Broken

    work.checkpoint_manager.save = keep_and_die
    with pytest.raises(Broken):
        fit(small_state(config), work)
    state = small_state(config, seed=5)  # other first weights: all must come from the checkpoint
    torch.manual_seed(99)
    again = fit(state, work_on(batch, batch, config, checkpoints=str(tmp_path), streamed=streamed))
    assert same(again.best_state_dict, best.best_state_dict)
    assert same(state.vae.state_dict(), whole.vae.state_dict())
    for ours, theirs in zip(state.history, whole.history, strict=True):
        assert replace(ours, seconds=0.0) == replace(theirs, seconds=0.0)


def test_a_checkpoint_of_other_rows_is_not_gone_on_from(batch, tmp_path, caplog):
    config = TrainingConfig(max_epochs=1, checkpoint_interval_steps=2)
    fit(small_state(config), work_on(batch, batch, config, checkpoints=str(tmp_path)))
    fewer = batch[:150]
    state = small_state(config)
    fit(state, work_on(fewer, batch, replace(config, checkpoint_interval_steps=0), checkpoints=str(tmp_path)))
    assert "training starts again" in caplog.text
    plain = small_state(config)
    fit(plain, work_on(fewer, batch, config))
    assert same(state.vae.state_dict(), plain.vae.state_dict())


def test_a_notice_makes_one_checkpoint(batch, tmp_path, monkeypatch):
    monkeypatch.setattr("distspec.training.checkpoint.CLOCK_CHECK_STEPS", 1)
    monkeypatch.setattr("distspec.training.checkpoint.PREEMPTION_POLL_SECONDS", 0.0)
    config = TrainingConfig(max_epochs=2)
    asked = []
    notice = {"is_preempted": lambda: asked.append(0) or len(asked) >= 2}
    work = work_on(batch, batch, config, checkpoints=str(tmp_path), **notice)
    fit(small_state(config), work)
    assert [path.name for path in tmp_path.iterdir()] == ["0000000002"]


@pytest.mark.parametrize("step", [0, 4])
def test_a_gradient_that_is_not_finite_names_the_spectra(batch, step):
    """One bad value of two hundred spectra; each batch of the epoch before was sound."""
    config = TrainingConfig(max_epochs=3)
    work = work_on(batch, batch, config)
    epoch = work.sampler.plan_epoch(step // 3, 1)
    rows = get_step_rows(epoch, 0, step % 3)
    bad = int(rows[17])
    if step:  # in no batch of the epoch before, or it would stop there
        before = work.sampler.plan_epoch(0, 1)
        seen = np.concatenate([get_step_rows(before, 0, s) for s in range(3)])
        fresh = np.setdiff1d(np.concatenate([get_step_rows(epoch, 0, s) for s in range(3)]), seen)
        bad = int(fresh[0])
        step = 3 + next(s for s in range(3) if bad in get_step_rows(epoch, 0, s))
        rows = get_step_rows(epoch, 0, step - 3)
    value = batch.spectrum.value.clone()
    ivar = batch.spectrum.ivar.clone()
    value[bad, 5], ivar[bad, 5] = float("nan"), 100.0
    spoilt = Batch.from_spectra(value, ivar, batch.z)
    with pytest.raises(FloatingPointError) as caught:
        fit(small_state(config), work_on(spoilt, batch, config))
    said = str(caught.value)
    assert f"gradient of step {step} " in said
    assert f"not finite in o{bad};" in said
    assert all(f"o{row}" in said for row in rows)


def test_a_model_that_runs_away_stops_and_blames_no_spectrum(batch):
    state = small_state(TrainingConfig())
    with torch.no_grad():
        state.vae.to_output.bias.fill_(float("inf"))
    with pytest.raises(FloatingPointError, match=r"gradient of step 0 .* is not finite: also in its batch"):
        fit(state, work_on(batch, batch, TrainingConfig(max_epochs=2)))


def test_too_few_rows_for_a_step_are_refused(batch):
    """One chunk cannot be dealt to two workers."""
    work = work_on(batch[:10], batch, TrainingConfig(batch_size=4), ProcessGroup(0, 2), streamed=True)
    work.checkpoint_manager.restore_latest = lambda state: True
    with pytest.raises(ValueError, match=r"raise training\.cache_mb"):
        fit(small_state(TrainingConfig()), work)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_a_gpu_trains_like_the_cpu(batch):
    config = TrainingConfig(learning_rate=3e-3, max_epochs=10)
    vae = VAEConfig(hidden_sizes=(32, 16), dropout=(0.0, 0.0), n_latents=4)
    results = []
    for device in (torch.device("cpu"), torch.device("cuda")):
        state = small_state(config, vae)
        state.vae.to(device)
        here = batch.to(device)
        results.append(fit(state, work_on(here, here, config, ProcessGroup(device=device))).best_loss)
    # The draws of z differ between devices: the same optimum, not the same path.
    assert results[1] == pytest.approx(results[0], rel=0.25)
