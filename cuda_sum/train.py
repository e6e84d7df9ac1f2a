"""`python -m cuda_sum.train`: `sumkit train` with the torch engine."""

from common.cli.main import run_train

if __name__ == "__main__":
    run_train(engine="cuda")
