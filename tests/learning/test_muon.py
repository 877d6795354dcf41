from __future__ import annotations

import pytest
import torch

from autoseg.learning.optimizers import optimizers
from autoseg.learning.optimizers.muon import NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS, Muon, is_kernel, orthogonalized


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (16, 16)])
def test_singular_values_become_about_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    values = torch.linalg.svdvals(orthogonalized(matrix))
    assert values.min() > 0.5 and values.max() < 1.3


def test_singular_vectors_stay():
    matrix = torch.randn(6, 20, generator=torch.Generator().manual_seed(1))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    # In the basis of its own singular vectors the result is diagonal.
    inner = u.T @ orthogonalized(matrix) @ v.T
    assert (inner - torch.diag(inner.diagonal())).abs().max() < 1e-4


@pytest.mark.parametrize("shape", [(12, 40), (40, 12)])
def test_gram_matrices_give_what_the_iteration_on_the_matrix_gives(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    a, b, c = NEWTON_SCHULZ
    x = matrix / matrix.norm()
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = (a * torch.eye(len(x)) + b * gram + c * gram @ gram) @ x
    torch.testing.assert_close(orthogonalized(matrix.float()).double(), x, atol=1e-4, rtol=1e-4)


def test_tiny_singular_values_do_not_blow_up():
    u, v = (torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(s)))[0] for s in (4, 5))
    matrix = u @ torch.diag(torch.logspace(0, -12, 64)) @ v
    assert torch.linalg.svdvals(orthogonalized(matrix)).max() < 1.3
    assert orthogonalized(torch.zeros(8, 8)).abs().max() == 0


def test_kernels_of_one_shape_learn_as_each_alone():
    start = torch.randn(3, 8, 4, 3, 3, generator=torch.Generator().manual_seed(6))
    together, alone = ([torch.nn.Parameter(kernel.clone()) for kernel in start] for _ in range(2))
    arguments = {"learning_rate": 0.1, "vector_learning_rate": 0.1}
    optimizers_ = [Muon(together, **arguments), *(Muon([kernel], **arguments) for kernel in alone)]
    for step in range(3):
        gradients = torch.randn(start.shape, generator=torch.Generator().manual_seed(7 + step))
        for kernels in (together, alone):
            for kernel, gradient in zip(kernels, gradients, strict=True):
                kernel.grad = gradient.clone()
        for optimizer in optimizers_:
            optimizer.step()
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_what_is_orthogonalized():
    assert is_kernel(torch.empty(8, 4, 3, 3, 3))
    assert is_kernel(torch.empty(8, 4, 1, 3, 3))
    assert not is_kernel(torch.empty(8, 1, 3, 3, 3))
    assert is_kernel(torch.empty(32, 16, 1, 1, 1))
    assert not is_kernel(torch.empty(3, 16, 1, 1, 1))
    assert not is_kernel(torch.empty(16, 1, 1, 1))
    assert not is_kernel(torch.empty(8))


def test_other_parameters_get_adamw():
    start = torch.randn(5, 7, generator=torch.Generator().manual_seed(2))
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    muon = Muon([ours], learning_rate=1.0, vector_learning_rate=1e-2, weight_decay=0.1)
    adamw = torch.optim.AdamW([theirs], lr=1e-2, weight_decay=0.1)
    for step in range(5):
        gradient = torch.randn(5, 7, generator=torch.Generator().manual_seed(step + 10))
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        muon.step()
        adamw.step()
    torch.testing.assert_close(ours, theirs)


def test_kernels_learn():
    torch.manual_seed(0)
    layer, target = torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(3, 4, 3)
    optimizer = optimizers.build(
        {"name": "muon", "learning_rate": 0.02, "vector_learning_rate": 0.02}, parameters=layer.parameters()
    )
    images = torch.randn(4, 3, 8, 8)
    losses = []
    for _ in range(60):
        loss = (layer(images) - target(images).detach()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]
