"""Programs as people write them for PyTorch run when their imports change, and compute the same.

Each is run under both libraries from the same weights, on the same few images, and what it prints
is compared, number by number. The data sets are stand-ins, of made-up pictures.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import types

import numpy as np
import pytest
import torch

import minicnn
import minicnn.vision.datasets
from minicnn.vision.image_dataset import ImageDataset

IMPORTS = [(r"\btorchvision\b", "minicnn.vision"), (r"\btorch\b", "minicnn")]

# What people read first: data, a model, an optimiser, epochs, a file, a prediction.
QUICKSTART = """
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets
from torchvision.transforms import ToTensor

training_data = datasets.FashionMNIST(root="data", train=True, download=True, transform=ToTensor())
test_data = datasets.FashionMNIST(root="data", train=False, download=True, transform=ToTensor())

batch_size = 16
train_dataloader = DataLoader(training_data, batch_size=batch_size)
test_dataloader = DataLoader(test_data, batch_size=batch_size)
for X, y in test_dataloader:
    print(f"Shape of X [N, C, H, W]: {X.shape}")
    print(f"Shape of y: {y.shape}")
    break

device = torch.accelerator.current_accelerator().type if torch.accelerator.is_available() else "cpu"
print(f"Using {device} device")


class NeuralNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.flatten = nn.Flatten()
        self.linear_relu_stack = nn.Sequential(
            nn.Linear(28 * 28, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
        )

    def forward(self, x):
        x = self.flatten(x)
        logits = self.linear_relu_stack(x)
        return logits


model = NeuralNetwork().to(device)
print(model)
start(model)
loss_fn = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-1)
print(optimizer)


def train(dataloader, model, loss_fn, optimizer):
    size = len(dataloader.dataset)
    model.train()
    for batch, (X, y) in enumerate(dataloader):
        X, y = X.to(device), y.to(device)
        pred = model(X)
        loss = loss_fn(pred, y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss, current = loss.item(), (batch + 1) * len(X)
        print(f"loss: {loss:>7f}  [{current:>5d}/{size:>5d}]")


def test(dataloader, model, loss_fn):
    size, num_batches = len(dataloader.dataset), len(dataloader)
    model.eval()
    test_loss, correct = 0, 0
    with torch.no_grad():
        for X, y in dataloader:
            X, y = X.to(device), y.to(device)
            pred = model(X)
            test_loss += loss_fn(pred, y).item()
            correct += (pred.argmax(1) == y).type(torch.float).sum().item()
    test_loss /= num_batches
    correct /= size
    print(f"Test Error: Accuracy: {(100 * correct):>0.1f}%, Avg loss: {test_loss:>8f}")


for t in range(3):
    print(f"Epoch {t + 1}")
    train(train_dataloader, model, loss_fn, optimizer)
    test(test_dataloader, model, loss_fn)

torch.save(model.state_dict(), f"{folder}/model.pth")
model = NeuralNetwork().to(device)
print(model.load_state_dict(torch.load(f"{folder}/model.pth", weights_only=True)))
model.eval()
x, y = test_data[0][0], test_data[0][1]
with torch.no_grad():
    pred = model(x.to(device))
    print(f'Predicted: "{test_data.classes[pred[0].argmax(0)]}", actual: {y}')
"""

# A command with arguments, two convolutions, dropout, Adadelta and a schedule.
MNIST = """
import argparse
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torchvision import datasets, transforms
from torch.optim.lr_scheduler import StepLR


class Net(nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, 1)
        self.conv2 = nn.Conv2d(4, 8, 3, 1)
        self.dropout1 = nn.Dropout(0.0)
        self.dropout2 = nn.Dropout2d(0.0)
        self.fc1 = nn.Linear(1152, 16)
        self.fc2 = nn.Linear(16, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.relu(self.dropout2(self.conv2(x)))
        x = F.max_pool2d(x, 2)
        x = self.dropout1(x)
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        x = self.fc2(x)
        return F.log_softmax(x, dim=1)


def train(args, model, device, train_loader, optimizer, epoch):
    model.train()
    for batch_idx, (data, target) in enumerate(train_loader):
        data, target = data.to(device), target.to(device)
        optimizer.zero_grad()
        output = model(data)
        loss = F.nll_loss(output, target)
        loss.backward()
        optimizer.step()
        if batch_idx % args.log_interval == 0:
            print("Train Epoch: {} [{}/{} ({:.0f}%)] Loss: {:.6f}".format(
                epoch, batch_idx * len(data), len(train_loader.dataset),
                100.0 * batch_idx / len(train_loader), loss.item()))
            if args.dry_run:
                break


def test(model, device, test_loader):
    model.eval()
    test_loss = 0
    correct = 0
    with torch.no_grad():
        for data, target in test_loader:
            data, target = data.to(device), target.to(device)
            output = model(data)
            test_loss += F.nll_loss(output, target, reduction="sum").item()
            pred = output.argmax(dim=1, keepdim=True)
            correct += pred.eq(target.view_as(pred)).sum().item()
    test_loss /= len(test_loader.dataset)
    print("Test set: Average loss: {:.4f}, Accuracy: {}/{}".format(
        test_loss, correct, len(test_loader.dataset)))


parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=1.0)
parser.add_argument("--gamma", type=float, default=0.7)
parser.add_argument("--no-accel", action="store_true")
parser.add_argument("--dry-run", action="store_true")
parser.add_argument("--log-interval", type=int, default=1)
args = parser.parse_args([])
use_accel = not args.no_accel and torch.accelerator.is_available()
torch.manual_seed(1)
device = torch.accelerator.current_accelerator() if use_accel else torch.device("cpu")
train_kwargs, test_kwargs = {"batch_size": 16}, {"batch_size": 20}
if use_accel:
    accel_kwargs = {"num_workers": 1, "persistent_workers": True, "pin_memory": True}
    train_kwargs.update(accel_kwargs)
    test_kwargs.update(accel_kwargs)
transform = transforms.Compose([
    transforms.ToTensor(),
    transforms.Normalize((0.1307,), (0.3081,))
])
dataset1 = datasets.MNIST("../data", train=True, download=True, transform=transform)
dataset2 = datasets.MNIST("../data", train=False, transform=transform)
train_loader = torch.utils.data.DataLoader(dataset1, **train_kwargs)
test_loader = torch.utils.data.DataLoader(dataset2, **test_kwargs)

model = Net().to(device)
start(model)
optimizer = optim.Adadelta(model.parameters(), lr=args.lr)
scheduler = StepLR(optimizer, step_size=1, gamma=args.gamma)
for epoch in range(1, 4):
    train(args, model, device, train_loader, optimizer, epoch)
    test(model, device, test_loader)
    scheduler.step()
print("rate", scheduler.get_last_lr()[0])
"""

# A model without a layer, with lazy layers, tensors that are parameters, and Adam.
BY_HAND = """
import math
import torch
from torch import nn, optim
from torch.nn import functional as F

x = torch.linspace(-math.pi, math.pi, 200, dtype=torch.float)
y = torch.sin(x)
p = torch.tensor([1, 2, 3])
xx = x.unsqueeze(-1).pow(p)
print(xx.shape, xx.size(0), xx[1].tolist())
a, b, c, d = (torch.full((), v, requires_grad=True) for v in (0.1, 0.8, 0.0, -0.1))
for t in range(20):
    y_pred = a + b * x + c * x ** 2 + d * x ** 3
    loss = (y_pred - y).pow(2).sum()
    if t % 5 == 4:
        print(t, loss.item())
    loss.backward()
    with torch.no_grad():
        for w in (a, b, c, d):
            w -= 1e-5 * w.grad
            w.grad = None
print(f"y = {a.item():.6f} + {b.item():.6f} x + {c.item():.6f} x^2 + {d.item():.6f} x^3")

model = nn.Sequential(nn.LazyLinear(4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0, 1))
print(model)
model(xx)
print(model)
start(model)
groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 0.1}]
optimizer = optim.Adam(groups, lr=0.01)
print(optimizer)
criterion = nn.MSELoss(reduction="sum")
for t in range(10):
    loss = criterion(model(xx), y)
    optimizer.zero_grad(set_to_none=False)
    loss.backward()
    optimizer.step()
    print(t, loss.item())

w = torch.zeros(3, requires_grad=True)
loss_of = lambda X, Y: F.binary_cross_entropy_with_logits(X @ w, Y)
X, Y = torch.stack([x, x.cos(), x.square()], dim=1), (y > 0).float()
plain = optim.SGD([w], lr=0.5, momentum=0.5)
for t in range(5):
    loss = loss_of(X, Y)
    plain.zero_grad()
    loss.backward()
    plain.step()
    print(t, loss.item(), w.grad.norm().item())
picked = X[range(3), [0, 1, 2]]
print(picked.mean().item(), X.std(dim=0).tolist(), X.max(dim=1, keepdim=True)[0].sum().item())
K = nn.Parameter(torch.ones(2, 2))
image, out = torch.arange(16, dtype=torch.float).reshape(4, 4), torch.zeros(3, 3)
for i in range(out.shape[0]):
    for j in range(out.shape[1]):
        out[i, j] = (image[i:i + 2, j:j + 2] * K).sum()
out.sum().backward()
print(out.tolist(), K.grad.tolist())
"""

PROGRAMS = {"quickstart": QUICKSTART, "mnist": MNIST, "by hand": BY_HAND}


def pictures(train):
    rng = np.random.default_rng(int(train))
    n = 64 if train else 20
    return rng.integers(0, 256, (n, 28, 28)).astype("uint8"), rng.integers(0, 10, n)


def ours(root, train=True, transform=None, target_transform=None, download=False):
    return ImageDataset(*pictures(train), transform, target_transform)


class Theirs(torch.utils.data.Dataset):
    classes = tuple(ImageDataset(*pictures(False)).classes)

    def __init__(self, root, train=True, transform=None, target_transform=None, download=False):
        self.images, self.labels = pictures(train)
        self.transform = transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.transform(self.images[i]), int(self.labels[i])


@pytest.fixture(autouse=True)
def data_sets(monkeypatch):
    for name in ("FashionMNIST", "MNIST"):
        monkeypatch.setattr(minicnn.vision.datasets, name, ours)
    vision = types.ModuleType("torchvision")
    vision.datasets = types.SimpleNamespace(FashionMNIST=Theirs, MNIST=Theirs)
    vision.transforms = types.ModuleType("torchvision.transforms")

    def compose(steps):
        def apply(x):
            for step in steps:
                x = step(x)
            return x

        return apply

    vision.transforms.Compose = compose
    vision.transforms.ToTensor = lambda: lambda x: torch.from_numpy(x / np.float32(255))[None]
    vision.transforms.Normalize = lambda mean, std: lambda x: (x - mean[0]) / std[0]
    monkeypatch.setitem(sys.modules, "torchvision", vision)
    monkeypatch.setitem(sys.modules, "torchvision.transforms", vision.transforms)


def start(model):
    """The same weights in either library."""
    rng = np.random.default_rng(5)
    library = torch if isinstance(model, torch.nn.Module) else minicnn
    state = model.state_dict()
    drawn = {
        n: 0.1 * rng.standard_normal(tuple(v.shape)).astype("float32") for n, v in state.items()
    }
    model.load_state_dict({name: library.tensor(value) for name, value in drawn.items()})


def printed(program, folder):
    """What a program prints: texts, and numbers."""
    file = io.StringIO()
    with contextlib.redirect_stdout(file):
        exec(program, {"__name__": "__main__", "start": start, "folder": folder})
    number = r"-?\d+\.\d+(?:e-?\d+)?"
    text = file.getvalue()
    return re.sub(number, "#", text), [float(n) for n in re.findall(number, text)]


def rewritten(program):
    """The program with its lines of imports, and nothing else, changed."""
    lines = program.split("\n")
    for i, line in enumerate(lines):
        if re.match(r"(import|from) torch", line):
            for ours, theirs in IMPORTS:
                line = re.sub(ours, theirs, line, count=1)
            if re.fullmatch(r"import minicnn", line):
                line += " as torch"
            lines[i] = line
    return "\n".join(lines)


@pytest.mark.cpu
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_prints_what_it_prints_with_pytorch(name, tmp_path):
    mine, its = rewritten(PROGRAMS[name]), PROGRAMS[name]
    assert "import minicnn as torch" in mine and not re.search(r"^(import|from) torch", mine, re.M)
    (text, numbers), (expected, values) = (printed(p, tmp_path) for p in (mine, its))
    assert text == expected
    np.testing.assert_allclose(numbers, values, rtol=2e-4, atol=2e-5)
    assert len(numbers) > 10
