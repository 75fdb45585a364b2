"""The dataset `motion`: synthetic recordings of a three-axis accelerometer, made by this file."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparsemod.data import Arrays, dataset

RATE = 25  # samples per second
ACTIVITIES = ("rest", "walk", "run", "stairs", "cycle", "shake")


@dataset("motion")
def motion(
    root: Path | None, people: int = 30, repeats: int = 4, noise: float = 0.35, seed: int = 0
) -> Arrays:
    """Recordings of six activities, 2 to 6 seconds long at 25 Hz, in units of g: (3, 150), padded with zeros.

    Each person wears the sensor in a direction and moves with a pace of their own. The groups are the persons.
    """
    rng = np.random.default_rng(seed)
    longest = 6 * RATE
    recordings, labels, lengths, persons = [], [], [], []
    for person in range(people):
        turn = _rotation(rng)
        pace, strength = rng.uniform(0.85, 1.15), rng.uniform(0.7, 1.3)
        for label in np.repeat(np.arange(len(ACTIVITIES)), repeats):
            length = int(rng.integers(2 * RATE, longest + 1))
            signal = np.zeros((3, longest), np.float32)
            moved = _movement(int(label), length, pace, strength, rng)
            signal[:, :length] = turn @ moved + rng.normal(0, noise, (3, length))
            recordings.append(signal)
            labels.append(label)
            lengths.append(length)
            persons.append(person)
    return Arrays(
        np.stack(recordings),
        np.array(labels),
        names=ACTIVITIES,
        groups=np.array(persons),
        lengths=np.array(lengths),
    )


def _movement(
    label: int, length: int, pace: float, strength: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the acceleration (forward, sideways, up) of an activity, gravity included."""
    t = np.arange(length) / RATE + rng.uniform(0, 10)
    steps, height, sway, forward = (
        (0.0, 0.0, 0.0, 0.0),
        (
            1.8,
            0.35,
            0.15,
            0.15,
        ),  # steps per second; their size upwards, sideways (each second step), forwards
        (2.7, 0.9, 0.25, 0.35),
        (1.6, 0.45, 0.25, 0.05),
        (1.3, 0.08, 0.2, 0.3),
        (4.5, 0.5, 0.7, 0.5),
    )[label]
    phase = 2 * np.pi * steps * pace * t
    up = 1 + strength * height * (np.sin(phase) + 0.4 * np.sin(2 * phase + 0.6))
    side = strength * sway * np.sin(phase / 2)
    ahead = strength * forward * np.cos(phase)
    return np.stack([ahead, side, up])


def _rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a rotation by up to 25 degrees around a random axis."""
    axis = rng.normal(size=3)
    x, y, z = axis / np.linalg.norm(axis) * rng.uniform(0, np.radians(25))
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = float(np.linalg.norm([x, y, z]))
    first = np.sin(angle) / angle if angle else 1.0
    second = (1 - np.cos(angle)) / angle**2 if angle else 0.5
    return np.eye(3) + first * skew + second * skew @ skew
