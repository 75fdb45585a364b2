"""LeNet-5. Source: LeCun et al., "Gradient-based learning applied to document recognition", 1998.

With full connections between the convolutions, relu and max-pooling, as most code today has it.
"""

from collections import OrderedDict

from torch import nn

from sparsemod.errors import BuildError


class LeNet5(nn.Sequential):
    """The layers in their order."""

    substitutes_skip = ("conv1",)
    taps = ("act1", "act2")


def lenet_5(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return LeNet-5. Images below 32 x 32, such as those of MNIST, get a padding of 2.

    Raises BuildError for images below 12 x 12.
    """
    channels, *image = shape
    padding = 2 if min(image) < 32 else 0
    rows, columns = (((side + 2 * padding - 4) // 2 - 4) // 2 for side in image)
    if min(rows, columns) < 1:
        raise BuildError(f"LeNet-5 needs images of at least 12 x 12, not {image[0]} x {image[1]}")
    return LeNet5(
        OrderedDict(
            conv1=nn.Conv2d(channels, 6, 5, padding=padding),
            act1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(6, 16, 5),
            act2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(16 * rows * columns, 120),
            act3=nn.ReLU(),
            fc2=nn.Linear(120, 84),
            act4=nn.ReLU(),
            classifier=nn.Linear(84, classes),
        )
    )
