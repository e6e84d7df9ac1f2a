"""Checkers: support, evidence, planted errors, calibration."""
