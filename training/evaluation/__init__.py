"""Measure models: retrieval, zero-shot, probes, robustness, and whether one beats another."""
