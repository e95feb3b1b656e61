"""Fine-tuning of a linear probe: all of its network is trained, and kept where held-out images say that it is better.

image folder --trainer (recipe custom)--> checkpoint --export.py--> model.onnx --choose.py--> the better of two
"""
