"""AlexNet evaluated as torchvision's reference does it (https://github.com/pytorch/vision, references/classification):
a DataLoader with workers, PIL transforms, float32, no gradients.

    python torchvision_evaluation.py PIXELS.npy LABELS.npy

Prints JSON: images and seconds of the loop.
"""

import json
import os
import sys
import time

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import models, transforms

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Images(Dataset):
    """As `torchvision.datasets.CIFAR10`: an array in memory, a PIL image for each item."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray) -> None:
        self.pixels, self.labels = pixels, labels
        self.transform = transforms.Compose(
            [transforms.Resize((224, 224)), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[place])), int(self.labels[place])


def main() -> None:
    """The loop; weights are fresh, since they change no time."""
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    images = Images(np.load(sys.argv[1]), np.load(sys.argv[2]))
    loader = DataLoader(images, batch_size=32, num_workers=workers, pin_memory=torch.cuda.is_available())
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
