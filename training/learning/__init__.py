"""From a batch to a step: losses, gradients, optimisers, processes."""
