"""The Apple-silicon engine: mlx and mlx-lm. Also runs on a Linux CPU."""
