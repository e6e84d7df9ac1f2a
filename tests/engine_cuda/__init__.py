"""What only the torch engine has: exactness, low precision, optimizers, data parallelism."""
