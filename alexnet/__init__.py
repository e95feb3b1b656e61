"""AlexNet on CIFAR-10: what comes in, what goes out, without torch and without an HTTP server."""

from typing import Final

__version__: Final = "0.2.0"
