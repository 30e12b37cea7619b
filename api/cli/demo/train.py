"""The demo's training program: a small neural network on generated data, with real loss, real checkpoints and a real retry.

Whoever runs it says where checkpoints go (SUANWANG_CHECKPOINT_DIR) and which attempt this is (SUANWANG_ATTEMPT). It resumes
from the newest checkpoint it finds there, and exits with an error if it did not learn.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

FEATURES, HIDDEN, CLASSES = 64, 256, 10
BATCH = 256
LEARNING_RATE = 0.02
SEED = 20_260_101
PARAMETERS = ("w1", "b1", "w2", "b2")


def main() -> int:
    options = _options()
    attempt = int(os.environ.get("SUANWANG_ATTEMPT", "1"))
    checkpoint = Path(os.environ.get("SUANWANG_CHECKPOINT_DIR", ".")) / "checkpoint.npz"
    samples, labels = generate(options.samples)
    model, done, first_loss = _resume(checkpoint, samples, labels)
    loss, _ = evaluate(model, samples, labels)
    if done:
        print(f"resuming after epoch {done} from {checkpoint}")
    for epoch in range(done + 1, options.epochs + 1):
        if epoch == options.fail_at_epoch and attempt == 1:
            raise RuntimeError(f"--fail-at-epoch {epoch}: failing on the first attempt, as asked")
        train_epoch(model, samples, labels, np.random.default_rng([SEED, epoch]))
        loss, accuracy = evaluate(model, samples, labels)
        _save(checkpoint, model, epoch, first_loss)
        print(f"epoch {epoch}/{options.epochs} loss {loss:.4f} accuracy {accuracy:.3f} checkpoint {checkpoint}", flush=True)
    if not loss < first_loss:
        print(f"the loss did not fall: {first_loss:.4f} before, {loss:.4f} after", file=sys.stderr)
        return 1
    print(f"done: loss {first_loss:.4f} before, {loss:.4f} after {options.epochs} epochs")
    return 0


def generate(count: int) -> tuple[Array, npt.NDArray[np.int64]]:
    """`count` samples of ten noisy, overlapping classes, always the same ones."""
    rng = np.random.default_rng(SEED)
    centres = rng.normal(size=(CLASSES, FEATURES))
    labels = rng.integers(CLASSES, size=count)
    samples = np.tanh(centres[labels] + rng.normal(scale=3.0, size=(count, FEATURES)))
    return samples.astype(np.float32), labels


def train_epoch(model: dict[str, Array], samples: Array, labels: npt.NDArray[np.int64], rng: np.random.Generator) -> None:
    """One pass of stochastic gradient descent over all samples, in place."""
    for batch in np.array_split(rng.permutation(len(samples)), max(1, len(samples) // BATCH)):
        inputs, wanted = samples[batch], labels[batch]
        hidden, probabilities = _forward(model, inputs)
        error = probabilities
        error[np.arange(len(batch)), wanted] -= 1
        error /= len(batch)
        back = (error @ model["w2"].T) * (1 - hidden**2)
        for name, gradient in (
            ("w2", hidden.T @ error),
            ("b2", error.sum(axis=0)),
            ("w1", inputs.T @ back),
            ("b1", back.sum(axis=0)),
        ):
            model[name] -= LEARNING_RATE * gradient


def evaluate(model: dict[str, Array], samples: Array, labels: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Mean cross-entropy and the share of samples classified correctly."""
    _, probabilities = _forward(model, samples)
    likelihood = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(likelihood + 1e-9).mean()), float((probabilities.argmax(axis=1) == labels).mean())


def _forward(model: dict[str, Array], inputs: Array) -> tuple[Array, Array]:
    hidden = np.tanh(inputs @ model["w1"] + model["b1"])
    scores = hidden @ model["w2"] + model["b2"]
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return hidden, raised / raised.sum(axis=1, keepdims=True)


def _fresh_model() -> dict[str, Array]:
    rng = np.random.default_rng(SEED + 1)
    return {
        "w1": (rng.normal(size=(FEATURES, HIDDEN)) / FEATURES**0.5).astype(np.float32),
        "b1": np.zeros(HIDDEN, np.float32),
        "w2": (rng.normal(size=(HIDDEN, CLASSES)) / HIDDEN**0.5).astype(np.float32),
        "b2": np.zeros(CLASSES, np.float32),
    }


def _resume(checkpoint: Path, samples: Array, labels: npt.NDArray[np.int64]) -> tuple[dict[str, Array], int, float]:
    """The model, the epochs it has behind it, and its loss before the first of them."""
    if not checkpoint.exists():
        model = _fresh_model()
        return model, 0, evaluate(model, samples, labels)[0]
    with np.load(checkpoint) as saved:
        return {name: saved[name] for name in PARAMETERS}, int(saved["epoch"]), float(saved["first_loss"])


def _save(checkpoint: Path, model: dict[str, Array], epoch: int, first_loss: float) -> None:
    """Beside the old one and then over it: whenever the program is stopped, one whole checkpoint is there."""
    content: dict[str, Any] = {**model, "epoch": epoch, "first_loss": first_loss}
    beside = checkpoint.with_name("checkpoint.new.npz")
    with beside.open("wb") as file:
        np.savez(file, **content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(checkpoint)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=_positive, default=20)
    parser.add_argument("--samples", type=_positive, default=50_000)
    parser.add_argument("--fail-at-epoch", type=_positive, help="raise in this epoch, on the first attempt only")
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
