"""The same task as our service's, each as the documentation of its framework writes a server.

Each module runs by itself in an environment of its own and imports nothing of ours: MODEL names an ONNX file that
takes `pixels` uint8 [N, 32, 32, 3] and answers `probabilities` [N, 10]. An answer maps labels to probabilities.
"""
