"""A run's network as one file that other programs run: ONNX, or a program of torch.export."""
