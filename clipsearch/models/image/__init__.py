"""Image towers without torch: exported to ONNX, kept in the user's cache, opened by fingerprint."""
