"""Is the network learning, waiting or dying? What a look at it shows, and what that means.

A ReLU whose input is negative for every image gives 0 and gets no gradient: it is dead, and nothing
downstream can bring it back. NiN has one on its logits, and often starts at a loss of ln(classes),
where nothing tells the classes apart. That is a plateau while gradients still flow, and a death
when they don't.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from minicnn import Tensor, nn, no_grad
from minicnn.backends import backend_of

from .fit import Row, Training
from .networks import named_layers, watched
from .schema import Misfit, choice, exactly, items, maybe, number, record, text, truth, whole
from .state import LOSS

EARLY = 500  # the steps during which a look is taken
EVERY = 25  # so many steps, and later at each epoch's end
IMAGES = 64  # that a look is taken with
MARGIN = 0.02  # nats below ln(classes) from which on a loss is better than guessing
PLATEAU = 50  # steps without that are a plateau: 45 seconds of article on two cores
PATIENCE = 1000  # and so many mean that it is stuck
FINDINGS = ("plateau", "left", "silent", "stuck", "dead", "diverged")
ADVICE = "--init kaiming_centred --max-norm 1, another --seed, or --on-stuck reinit"


@dataclass(frozen=True)
class Look:
    """The state of a network at a step; figures by layer have the layer's path as their key."""

    step: int
    loss: float  # mean of the steps since the look before
    dead: dict[str, float]  # share of a ReLU's units (channels) that are 0 for every image
    gradient_norm: dict[str, float]
    weight_norm: dict[str, float]
    classes: int
    dead_logits: int  # classes whose logit is 0 for every image
    equal_predictions: bool  # the same class for every image
    not_finite: str  # the first layer with NaN or infinity, "" if there is none

    @property
    def ceiling(self) -> float:
        """The loss below which a network does better than guessing."""
        return math.log(self.classes) - MARGIN

    def row(self) -> Row:
        """The figures of an epoch, flat: `dead:0.1` is the share of dead units of layer 0.1."""
        kinds = ("dead", "gradient_norm", "weight_norm")
        return {f"{kind}:{k}": v for kind in kinds for k, v in getattr(self, kind).items()}


@dataclass(frozen=True)
class Finding:
    """What there is to say, in plain words; `kind` is one of FINDINGS."""

    kind: str
    text: str

    @property
    def final(self) -> bool:
        """Whether to wait any longer is of no use."""
        return self.kind in ("stuck", "dead", "diverged")


def look(model: nn.Module, images: Tensor, step: int, loss: float) -> Look:
    """Take the images through the network, without dropout; read the gradients."""
    layers = named_layers(model)
    silent: dict[str, list[float]] = {p: [] for p, m in layers.items() if isinstance(m, nn.ReLU)}
    weights, gradients, not_finite = {}, {}, ""
    for path, layer in layers.items():
        if own := list(layer.parameters(recurse=False)):
            weights[path] = _norm([p.array for p in own])
            if any(p.requires_grad for p in own):
                gradients[path] = _norm([p.grad_array for p in own if p.grad_array is not None])

    def seen(path: str, layer: nn.Module, output: Any) -> None:
        nonlocal not_finite
        if path in silent:
            silent[path].append(float(_silent(output).mean()))
        own = [p.array for p in layer.parameters(recurse=False)]
        outputs = [output.array] if isinstance(output, Tensor) else []
        for source, arrays in (("weights", own), ("output", outputs)):
            if not not_finite and not all(map(_finite, arrays)):
                not_finite = f"the {source} of layer {path}, {layer!r}"

    with watched(model, seen):
        x = answers(model, images)
    taken_for = x.argmax(1)
    return Look(
        step=step,
        loss=loss,
        dead={path: min(shares, default=0.0) for path, shares in silent.items()},
        gradient_norm=gradients,
        weight_norm=weights,
        classes=int(x.shape[1]),
        dead_logits=int(_silent(x).sum()),
        equal_predictions=bool((taken_for == taken_for[0]).all().item()),
        not_finite=not_finite,
    )


def answers(model: nn.Module, images: Tensor) -> Tensor:
    """The logits of images, without dropout, of a network that is in training."""
    modes = [module.training for module in model.modules()]
    try:
        with no_grad():
            return model.eval()(images)
    finally:
        for module, mode in zip(model.modules(), modes, strict=True):
            module.training = mode


def _silent(x: Tensor) -> Any:
    """Which channels of x (N, C, …) are 0 everywhere: (C,)."""
    return (x.array == 0).all(axis=(0, *range(2, x.ndim)))


def _finite(array: Any) -> bool:
    return bool(backend_of(array).xp.isfinite(array).all())


def _norm(arrays: list[Any]) -> float:
    """The Euclidean norm of all arrays as one vector; infinity where squares overflow."""
    total = 0.0
    for array in arrays:
        with backend_of(array).quiet():
            total += float((array * array).sum())
    return math.sqrt(total) if total >= 0 else math.nan


class Monitor:
    """Looks at a training now and then, and says what it finds.

    `state` is what a checkpoint keeps of it.
    """

    def __init__(self, training: Training) -> None:
        self.training = training
        images, _ = next(iter(training.eval_loader.batches()))
        self.images = images[:IMAGES].to(training.device)
        self.looks: list[Look] = []
        self.plateau_since: int | None = 0
        self.told: list[str] = []
        self.total = 0.0  # loss of the epoch of the last look, up to that

    def state(self) -> dict[str, Any]:
        """All that has been seen, as JSON has it."""
        return {
            "looks": [asdict(each) for each in self.looks],
            "plateau_since": self.plateau_since,
            "told": self.told,
            "total": self.total,
        }

    def check_state(self, state: Any, steps: int) -> None:
        """Raise Misfit, which names the field, if it is not from `state()` after so many steps."""
        model, norm = self.training.model, number(0, finite=False)
        own = {p: list(m.parameters(recurse=False)) for p, m in named_layers(model).items()}
        relus = [p for p, layer in named_layers(model).items() if isinstance(layer, nn.ReLU)]
        trained = [path for path, ps in own.items() if any(p.requires_grad for p in ps)]
        weighted = [path for path, ps in own.items() if ps]
        classes = int(answers(model, self.images[:1]).shape[1])
        look = {
            "step": whole(1, steps),
            "loss": LOSS,
            "dead": record(dict.fromkeys(relus, number(0, 1))),
            "gradient_norm": record(dict.fromkeys(trained, norm)),
            "weight_norm": record(dict.fromkeys(weighted, norm)),
            "classes": exactly(classes),
            "dead_logits": whole(0, classes),
            "equal_predictions": truth,
            "not_finite": text(1000),
        }
        fields = {
            "looks": items(record(look), most=steps),
            "plateau_since": maybe(whole(0, steps)),
            "told": items(choice(*FINDINGS), most=len(FINDINGS)),
            "total": LOSS,
        }
        record(fields)(state, "state.monitor")
        last = 0
        for i, each in enumerate(state["looks"]):
            whole(last + 1, steps)(each["step"], f"state.monitor.looks[{i}].step")
            last = each["step"]
        if len(set(state["told"])) < len(state["told"]):
            raise Misfit("state.monitor.told names something twice")
        if not state["looks"]:
            exactly(0.0, " before the first look")(state["total"], "state.monitor.total")

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on with what `state()` gave."""
        self.looks = [Look(**each) for each in state["looks"]]
        self.plateau_since, self.told = state["plateau_since"], list(state["told"])
        self.total = state["total"]

    def rows(self) -> list[Row]:
        """The figures of all epochs, each with what was seen at its end."""
        seen = {each.step: each.row() for each in self.looks}
        batches = len(self.training.train_loader)
        return [{**row, **seen[i * batches]} for i, row in enumerate(self.training.history, 1)]

    def after_step(self) -> Finding | None:
        """A look if it is time for one; what there is to say, which is said once."""
        training = self.training
        broken = training.diverged and "diverged" not in self.told
        early = training.steps <= EARLY or self.plateau_since is not None
        epoch_over = training.batch == len(training.train_loader)
        if broken or epoch_over or (early and training.steps % EVERY == 0):
            return self._tell(self.look())
        return None

    def look(self) -> Look:
        """Take a look now, if there was none after this step."""
        training = self.training
        if self.looks and self.looks[-1].step == training.steps:
            return self.looks[-1]
        total, before, seen_before = training.total_loss(), 0.0, 0
        if self.looks:
            epoch, _, seen = training.position(self.looks[-1].step)
            if epoch == training.epoch:
                before, seen_before = self.total, seen
        loss = (total - before) / max(1, training.seen - seen_before)
        new = look(training.model, self.images, training.steps, loss)
        self.looks.append(new)
        self.total = total
        return new

    def _tell(self, look: Look) -> Finding | None:
        if look.loss < look.ceiling:
            was_on, self.plateau_since = self.plateau_since is not None, None
            if was_on and self.told[-1:] == ["plateau"]:
                self.told.append("left")
                text = f"Step {look.step}: off the plateau: the loss is {look.loss:.3f}."
                return Finding("left", text)
        elif self.plateau_since is None:
            self.plateau_since = look.step
        waited = 0 if self.plateau_since is None else look.step - self.plateau_since
        finding = diagnose(look, waited, silent_steps(self.looks), self.training.preset.lr)
        if finding is None or finding.kind in self.told:
            return None
        self.told.append(finding.kind)
        return finding


def silent_steps(looks: Sequence[Look]) -> int:
    """For how many steps no class has come back whose logit is 0 for every image; 0 without any."""
    last = since = looks[-1]
    for each in reversed(looks):
        if not 0 < each.dead_logits <= last.dead_logits:
            break
        since = each
    return last.step - since.step


def diagnose(look: Look, waited: int, silent: int, lr: float) -> Finding | None:
    """What a look means, when the loss has been no better than guessing for `waited` steps.

    `silent` is for how many steps there have been classes whose logit is 0 for every image.
    """
    step, gentler = f"Step {look.step}:", f"--lr {lr / 5:g}"
    if look.not_finite or not math.isfinite(look.loss):
        where = look.not_finite or "none of the layers, by now"
        return Finding(
            "diverged",
            f"{step} diverged. The loss is {look.loss:g}; the first NaN or infinity is in {where}."
            " Usually the steps were too long, each overshooting further than the last: try"
            f" {gentler}, or --max-norm 1.",
        )
    for path, share in look.dead.items():
        if share == 1:
            return Finding(
                "dead",
                f"{step} dead. Every unit of the ReLU {path} gives 0 for every image, so no"
                " gradient gets past it, and no layer before it can learn again. Usually a step"
                f" was too long, or the initial weights too small: try {gentler}, or {ADVICE}.",
            )
    if waited >= PLATEAU:
        what = _plateau(look, waited)
        text = (
            f"{step} a plateau: {what} The network is not dead: gradients still reach every layer,"
            f" and many runs leave the plateau after some hundred steps. If it lasts, try {ADVICE}."
        )
        finding = Finding("plateau", text)
    elif silent >= PLATEAU:
        what = (
            f"{_silent_logits(look)} have been 0 for every image for {silent} steps. A ReLU that"
            " gives 0 passes no gradient, so their classes learn nothing."
        )
        text = (
            f"{step} silent classes: {what} Usually the first steps were too long, or the initial"
            f" weights made all images look alike. If it lasts, try {gentler}, or {ADVICE}."
        )
        finding = Finding("silent", text)
    else:
        return None
    if (waited if finding.kind == "plateau" else silent) < PATIENCE:
        return finding
    return Finding("stuck", f"{step} stuck: {what} Try {ADVICE}.")


def _plateau(look: Look, waited: int) -> str:
    """What is seen where the loss is no better than guessing."""
    guess = math.log(look.classes)
    seen = [f"the loss is {look.loss:.3f}, and guessing gives ln {look.classes} = {guess:.3f}"]
    if look.dead_logits:
        seen.append(
            f"{_silent_logits(look)} are 0 for every image, and their classes learn nothing"
        )
    if look.equal_predictions:
        seen.append("all predictions are equal")
    weakest, norm = min(look.gradient_norm.items(), key=lambda each: each[1])
    seen.append(f"the smallest gradient is layer {weakest}'s, {norm:.1e}")
    return f"after {waited} steps {'; '.join(seen)}."


def _silent_logits(look: Look) -> str:
    return f"{look.dead_logits} of the {look.classes} logits (layer {list(look.dead)[-1]})"
