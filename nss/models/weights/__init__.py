"""Where model files come from and are kept; and `u2netp.onnx`, which comes with the package."""
