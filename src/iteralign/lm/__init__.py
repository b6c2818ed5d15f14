"""One language model: loading, chat template, adapters, checkpoints, devices."""
