"""A linear probe: logistic regression on the frozen features of AlexNet's ImageNet convolutions, without torch.

    images --features.py (ONNX)--> features --logistic.py--> linear layer --graph.py--> model.onnx
                                        |
                                     ood.py --> OOD score and threshold

fit.py is the work of `alexnet fit`: an image folder to a model file, its metrics and its card.
"""
