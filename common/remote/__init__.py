"""Models behind OpenAI-compatible servers: Ollama, LM Studio, mlx_lm.server, vLLM, llama.cpp, and our own."""
