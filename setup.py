"""What pyproject.toml cannot say: all packages, and as one more the model, which lies in `models/` in a checkout."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["alexnet*", "serving*", "training*"]), "alexnet.models.alexnet"])
