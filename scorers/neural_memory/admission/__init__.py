"""The parts of the admission gate: see gate.py."""
