"""The contract is a program: a PyTorch tutorial's runs when its import lines alone are changed."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import minicnn
from benchmarks.twin import to_torch
from minicnn.vision.datasets import FashionMNIST

from .arrays import array

PROGRAM = """
import torch
import torch.nn as nn
import torch.optim as optim
import torchvision
import torchvision.transforms as transforms

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def nin_block(in_channels, out_channels, kernel_size, strides, padding):
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, strides, padding),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, kernel_size=1),
        nn.ReLU(),
    )


class NiN(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.net = nn.Sequential(
            nin_block(1, 96, kernel_size=11, strides=4, padding=0),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nin_block(96, 256, kernel_size=5, strides=1, padding=2),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nin_block(256, 384, kernel_size=3, strides=1, padding=1),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Dropout(dropout),
            nin_block(384, num_classes, kernel_size=3, strides=1, padding=1),
            nn.AdaptiveAvgPool2d((1, 1)),
            nn.Flatten(),
        )

    def forward(self, x):
        return self.net(x)


transform = transforms.Compose([
    transforms.ToTensor(),
    transforms.Resize((224, 224)),
    transforms.Normalize((0.5,), (0.5,)),
])
train_dataset = torchvision.datasets.FashionMNIST(
    root="./data", train=True, download=True, transform=transform
)
test_dataset = torchvision.datasets.FashionMNIST(
    root="./data", train=False, download=True, transform=transform
)
train_loader = torch.utils.data.DataLoader(
    train_dataset, batch_size=8, shuffle=True, num_workers=2
)
test_loader = torch.utils.data.DataLoader(
    test_dataset, batch_size=8, shuffle=False, num_workers=2
)

model = NiN().to(device)
start_from_shared_weights(model)
criterion = nn.CrossEntropyLoss()
optimizer = optim.SGD(model.parameters(), lr=0.1)

for epoch in range(2):
    model.train()
    for images, labels in train_loader:
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        outputs = model(images)
        loss = criterion(outputs, labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    model.eval()
    test_loss, correct, total = 0.0, 0, 0
    with torch.no_grad():
        for images, labels in test_loader:
            images, labels = images.to(device), labels.to(device)
            outputs = model(images)
            test_loss += criterion(outputs, labels).item()
            _, predicted = torch.max(outputs.data, 1)
            total += labels.size(0)
            correct += (predicted == labels).sum().item()
    results.append((test_loss / len(test_loader), correct, total))

torch.save(model.state_dict(), path)
"""

IMPORTS = {
    "import torch": "import minicnn as torch",
    "import torch.nn as nn": "import minicnn.nn as nn",
    "import torch.optim as optim": "import minicnn.optim as optim",
    "import torchvision": "import minicnn.vision as torchvision",
    "import torchvision.transforms as transforms": "import minicnn.vision.transforms as transforms",
}
TRAIN, TEST = 24, 8  # images of each set that the program gets to see
ORDERS = [np.random.default_rng(epoch).permutation(TRAIN) for epoch in range(2)]


def rewritten(program):
    """The program with its import lines, and nothing else, changed."""
    return "\n".join(IMPORTS.get(line, line) for line in program.split("\n"))


@pytest.fixture(scope="module")
def weights():
    """Initial weights by name, as NumPy arrays.

    Biases above 0 keep every unit alive: with PyTorch's default weights six steps change the loss
    by less than the comparison could see.
    """
    namespace = {"dropout": 0.0, "start_from_shared_weights": lambda model: None}
    definitions = rewritten(PROGRAM).partition("transform = ")[0]
    exec(definitions, namespace)
    minicnn.manual_seed(2)
    model = namespace["NiN"]()
    for parameter in model.parameters():
        if parameter.ndim == 4:
            minicnn.nn.init.kaiming_normal_(parameter, a=5**0.5)
        else:
            minicnn.nn.init.constant_(parameter, 0.1)
    return {k: array(v).copy() for k, v in model.state_dict().items()}


def run(program, weights, path):
    """Execute a program; the loss of each step, and (loss, correct, total) of each test."""
    space = {"__name__": "program", "dropout": 0.0, "losses": [], "results": [], "path": path}
    is_torch = "import minicnn" not in program

    def start(model):
        state = {k: torch.from_numpy(v.copy()) if is_torch else v for k, v in weights.items()}
        model.load_state_dict(state, strict=True)

    exec(program, {**space, "start_from_shared_weights": start})
    return space["losses"], space["results"]


@pytest.fixture(scope="module")
def ours(weights, tmp_path_factory):
    """What the program gives with minicnn, and the file it saved."""
    path = tmp_path_factory.mktemp("ours") / "model.safetensors"
    with pytest.MonkeyPatch.context() as monkeypatch:
        with_few_images(monkeypatch)
        return run(rewritten(PROGRAM), weights, path), path


def with_few_images(monkeypatch):
    """minicnn with the first images only, in the known order."""
    real = FashionMNIST.__init__
    orders = iter(ORDERS)

    def few(self, *args, **kwargs):
        real(self, *args, **kwargs)
        n = TRAIN if self.train else TEST
        self.data, self.targets = self.data[:n], self.targets[:n]

    monkeypatch.setattr(FashionMNIST, "__init__", few)
    monkeypatch.setattr("minicnn.utils.data.loader.permutation", lambda key, n: next(orders))


@pytest.fixture
def theirs(monkeypatch):
    """PyTorch with the same images and order, and a stand-in for torchvision."""

    class Images(torch.utils.data.Dataset):
        def __init__(self, root, train, download, transform):
            raw = FashionMNIST("data", train, download=True)
            n = TRAIN if train else TEST
            self.images, self.labels = raw.data.numpy()[:n], raw.targets.numpy()[:n]
            self.transform = transform

        def __len__(self):
            return len(self.images)

        def __getitem__(self, i):
            return self.transform(self.images[i]), int(self.labels[i])

    def resize(size):
        def apply(x):
            return torch.nn.functional.interpolate(x[None], size, mode="bilinear", antialias=True)[
                0
            ]

        return apply

    def compose(steps):
        def apply(x):
            for step in steps:
                x = step(x)
            return x

        return apply

    vision, transforms = types.ModuleType("torchvision"), types.ModuleType("transforms")
    transforms.Compose, transforms.Resize = compose, resize
    transforms.ToTensor = lambda: lambda image: torch.from_numpy(image / np.float32(255))[None]
    transforms.Normalize = lambda mean, std: lambda x: (x - mean[0]) / std[0]
    vision.datasets = types.SimpleNamespace(FashionMNIST=Images)
    vision.transforms = transforms
    monkeypatch.setitem(sys.modules, "torchvision", vision)
    monkeypatch.setitem(sys.modules, "torchvision.transforms", transforms)
    orders = iter(ORDERS)
    real = torch.utils.data.DataLoader

    def loader(dataset, batch_size, shuffle, num_workers):
        # In this process: PyTorch's workers would be others, to which closures can't be sent.
        sampler = torch.utils.data.RandomSampler(dataset) if shuffle else None
        if sampler is not None:
            monkeypatch.setattr(type(sampler), "__iter__", lambda self: iter(next(orders).tolist()))
        return real(dataset, batch_size, sampler=sampler, num_workers=0)

    monkeypatch.setattr(torch.utils.data, "DataLoader", loader)


def test_the_programs_differ_in_their_five_import_lines_alone():
    pairs = zip(PROGRAM.split("\n"), rewritten(PROGRAM).split("\n"), strict=True)
    assert [pair for pair in pairs if pair[0] != pair[1]] == list(IMPORTS.items())


@pytest.mark.usefixtures("theirs")
def test_losses_agree_step_by_step_and_so_do_the_answers(ours, weights, tmp_path):
    losses, results = ours[0]
    other_losses, other_results = run(PROGRAM, weights, tmp_path / "theirs.pth")
    assert len(losses) == 6
    # 2e-7 here. Where rounding takes a maximum or a ReLU to its other side, as it does from other
    # weights, up to 2e-4; without the optimiser's steps, 5e-2.
    np.testing.assert_allclose(losses, other_losses, rtol=1e-4)
    for (loss, correct, total), other in zip(results, other_results, strict=True):
        assert loss == pytest.approx(other[0], rel=1e-4)
        assert (correct, total) == other[1:]


def test_pytorch_takes_the_saved_model(ours, weights):
    path = ours[1]
    saved, own = load_file(path), minicnn.load(path)
    assert {k: tuple(v.shape) for k, v in saved.items()} == {k: v.shape for k, v in weights.items()}
    assert all(torch.equal(saved[name], to_torch(own[name])) for name in weights)
