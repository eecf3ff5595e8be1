"""The same for texts, without torch: exported towers in ONNX Runtime, and their tokenizers."""
