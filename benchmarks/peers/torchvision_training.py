"""AlexNet trained as torchvision's reference does it (https://github.com/pytorch/vision, references/classification): a
DataLoader with workers, PIL transforms, SGD with momentum, autocast where it is asked for.

    python torchvision_training.py PIXELS.npy LABELS.npy fp32|bf16 BATCH

Prints JSON: images/s of an epoch, and the device.
"""

import itertools
import json
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import models
from torchvision_images import Images, workers

_WARM_UP_STEPS = 4


def main() -> None:
    """An epoch, after a few steps that warm up."""
    precision, batch = sys.argv[3], int(sys.argv[4])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = Images(np.load(sys.argv[1]), np.load(sys.argv[2]))
    loader = DataLoader(
        images,
        batch_size=batch,
        shuffle=True,
        num_workers=workers(),
        pin_memory=device.type == "cuda",
        persistent_workers=True,
    )
    model = models.alexnet(num_classes=10).to(device).train()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, weight_decay=1e-4)
    seconds = 0.0
    for warming_up in (True, False):
        started = time.perf_counter()
        for pixels, labels in itertools.islice(loader, _WARM_UP_STEPS if warming_up else None):
            pixels, labels = pixels.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                loss = criterion(model(pixels), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()  # the reference logs it after each step
        seconds = time.perf_counter() - started
    print(json.dumps({"images_per_second": len(images) / seconds, "device": device.type}))


if __name__ == "__main__":
    main()
