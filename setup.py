"""What pyproject.toml cannot say: all packages, and as two more those of `models/` in a checkout."""

from setuptools import find_packages, setup

_MODELS = ["alexnet.models.alexnet", "alexnet.models.features"]

setup(packages=[*find_packages(include=["alexnet*", "serving*", "training*"]), *_MODELS])
