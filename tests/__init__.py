"""Sentences about laws, reference implementations and hand-worked numbers; tiny real models, no mocks, no network."""
