"""Three workers compute the same as one, end with the same weights, and resume exactly."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from distspec.training.config import learning_rate
from distspec.training.distributed import ProcessGroup
from distspec.training.sampler import get_step_rows
from distspec.training.state import seed_torch
from distspec.training.trainer import fit
from tests.training.build_store import make_spectra, make_state, make_trainer, state_dicts_equal
from tests.training.gloo import CONFIG, SIZE, run_scenarios, run_workers


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder with checkpoints that one worker saved in the middle of the second epoch."""
    folder, batch = tmp_path_factory.mktemp("three"), make_spectra(200)
    for kind in ("cached", "streamed"):
        config = replace(CONFIG, max_epochs=2, checkpoint_interval_steps=4)
        trainer = make_trainer(
            batch, batch, config, checkpoints=f"{folder}/{kind} of one", streamed=kind == "streamed"
        )
        fit(make_state(config), trainer)
    return folder


@pytest.fixture(scope="module")
def results(folder):
    return run_workers(SIZE, run_scenarios, folder)


def weights(results, name):
    other_keys = ("losses", "val")
    found = {key.partition("/")[2]: value for key, value in results.items() if key.startswith(f"{name}/")}
    return {key: value for key, value in found.items() if key not in other_keys}


def test_collective_operations(results):
    for worker in results:
        assert worker["sum"].tolist() == [3.0, 3.0]
        assert worker["flags"].tolist() == [True, False]
        assert worker["all"].flatten().tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", ["cached", "streamed"])
def test_all_workers_end_with_the_same_weights_and_losses(results, kind):
    """So do batch norm's statistics."""
    first = weights(results[0], kind)
    assert any("running_var" in name for name in first)
    for worker in results[1:]:
        assert state_dicts_equal(first, weights(worker, kind))
        assert torch.equal(worker[f"{kind}/losses"], results[0][f"{kind}/losses"])
        assert torch.equal(worker[f"{kind}/val"], results[0][f"{kind}/val"])


@pytest.mark.parametrize("kind", ["cached", "streamed"])
def test_three_workers_equal_one_with_averaged_gradients(results, kind):
    """One process computes the steps of all three: noise and batch norm of each, gradients averaged."""
    batch = make_spectra(200)
    state = make_state(CONFIG)
    sampler = make_trainer(batch, batch, CONFIG, ProcessGroup(), streamed=kind == "streamed").sampler
    noise, buffers = [], []
    for rank in range(SIZE):
        seed_torch(7, ProcessGroup(rank, SIZE), 0)
        noise.append(torch.get_rng_state())
        buffers.append({name: value.clone() for name, value in state.vae.named_buffers()})
    parameters, losses = list(state.vae.parameters()), []
    state.vae.train()
    for number in range(CONFIG.max_epochs):
        epoch = sampler.plan_epoch(number, SIZE)
        totals = []
        for step in range(epoch.n_steps):
            gradients = [torch.zeros_like(p) for p in parameters]
            total = 0.0
            for rank in range(SIZE):
                torch.set_rng_state(noise[rank])
                _load(state.vae, buffers[rank])
                state.optimizer.zero_grad()
                weight = epoch.get_local_batch_size(rank) / 64
                loss = state.vae(batch[get_step_rows(epoch, rank, step)])["total"]
                loss.backward()
                total += loss.item() * weight
                for sum_, p in zip(gradients, parameters, strict=True):
                    sum_ += weight * p.grad
                noise[rank] = torch.get_rng_state()
                buffers[rank] = {name: value.clone() for name, value in state.vae.named_buffers()}
            for sum_, p in zip(gradients, parameters, strict=True):
                p.grad = sum_
            nn.utils.clip_grad_norm_(parameters, CONFIG.max_grad_norm)
            state.optimizer.param_groups[0]["lr"] = learning_rate(CONFIG, state.step)
            state.optimizer.step()
            state.step += 1
            totals.append(total)
        losses.append(np.mean(totals))
        fractions = [epoch.get_local_batch_size(rank) / 64 for rank in range(SIZE)]
        mean = {
            name: sum(w * b[name] for w, b in zip(fractions, buffers, strict=True))
            if buffers[0][name].is_floating_point()
            else buffers[0][name]
            for name in buffers[0]
        }
        buffers = [{name: value.clone() for name, value in mean.items()} for _ in range(SIZE)]
    _load(state.vae, buffers[0])
    assert results[0][f"{kind}/losses"].tolist() == pytest.approx(losses, rel=1e-5)
    theirs = weights(results[0], kind)
    # The gradient of a bias before batch norm is rounding error, which Adam scales up to full steps.
    for name, value in state.vae.state_dict().items():
        if value.ndim == 2 or name.endswith("running_var"):
            assert torch.allclose(theirs[name], value, rtol=1e-3, atol=1e-4), name


def _load(vae, buffers):
    for name, buffer in vae.named_buffers():
        buffer.copy_(buffers[name])


@pytest.mark.parametrize("kind", ["cached", "streamed"])
def test_resumed_training_of_three_workers_ends_with_the_same_weights(results, kind):
    for worker in results:
        assert state_dicts_equal(weights(worker, f"{kind} again"), weights(worker, kind))
        assert torch.equal(worker[f"{kind} again/losses"], worker[f"{kind}/losses"])


@pytest.mark.parametrize("kind", ["cached", "streamed"])
def test_more_workers_resume_within_an_epoch(results, kind):
    """Three workers finish what one began, with nearly the losses of three from the start."""
    grown, whole = results[0][f"{kind} grown/losses"], results[0][f"{kind}/losses"]
    assert len(grown) == len(whole)
    assert grown.tolist() == pytest.approx(whole.tolist(), rel=0.1)
    assert state_dicts_equal(weights(results[1], f"{kind} grown"), weights(results[2], f"{kind} grown"))


@pytest.mark.parametrize("kind", ["cached", "streamed"])
def test_fewer_workers_resume_within_an_epoch(results, folder, kind, caplog):
    """One worker finishes what three began; in each epoch every row is used once."""
    batch, state = make_spectra(200), make_state(CONFIG)
    fit(state, make_trainer(batch, batch, CONFIG, ProcessGroup(), f"{folder}/{kind}", kind == "streamed"))
    assert "resumes at step 4, in epoch 1" in caplog.text
    # Three workers took one step of the three (or two, if streamed) of the epoch; one takes the rest.
    assert state.step == 9 if kind == "cached" else 7 <= state.step <= 9
    whole = results[0][f"{kind}/losses"].tolist()
    assert [epoch.train["total"] for epoch in state.history] == pytest.approx(whole, rel=0.1)


def test_bad_value_of_one_worker_stops_all_with_the_same_error(results):
    messages = [bytes(worker["message"].tolist()).decode().strip() for worker in results]
    assert len(set(messages)) == 1
    assert "not finite in o50;" in messages[0]
    assert messages[0].count("o") > 60, "the whole global batch is named"
