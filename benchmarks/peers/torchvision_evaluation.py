"""AlexNet evaluated as torchvision's reference does it (https://github.com/pytorch/vision, references/classification):
a DataLoader with workers, PIL transforms, float32, no gradients.

    python torchvision_evaluation.py PIXELS.npy LABELS.npy

Prints JSON: images and seconds of the loop.
"""

import json
import sys
import time

import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision import models
from torchvision_images import Images, workers


def main() -> None:
    """The loop; weights are fresh, since they change no time."""
    images = Images(np.load(sys.argv[1]), np.load(sys.argv[2]))
    loader = DataLoader(images, batch_size=32, num_workers=workers(), pin_memory=torch.cuda.is_available())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = models.alexnet(num_classes=10).to(device).eval()
    started, correct = time.perf_counter(), 0
    with torch.inference_mode():
        for pixels, labels in loader:
            output = model(pixels.to(device, non_blocking=True))
            correct += (output.argmax(1).cpu() == labels).sum().item()
    print(json.dumps({"images": len(images), "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
