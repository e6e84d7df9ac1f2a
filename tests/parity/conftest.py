"""Fixtures that parity tests take from the contract suite."""

from tests.contract.cases import tiny_model

__all__ = ["tiny_model"]
