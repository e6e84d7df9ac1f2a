"""What only the MLX engine has: attention, loading, forward passes, data parallelism."""
