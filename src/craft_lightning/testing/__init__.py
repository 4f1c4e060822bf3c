"""Checks, tiny policies and stand-ins for tests: ``check_adapter`` holds any adapter against the contract."""

from craft_lightning.testing.conformance import AdapterFault, AdapterReport, CheckResult, check_adapter

__all__ = ["AdapterFault", "AdapterReport", "CheckResult", "check_adapter"]
