"""The CUDA engine: torch, transformers, peft and bitsandbytes. Also runs on a CPU."""
