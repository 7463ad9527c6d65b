"""The parts of the admission gate: see source_gate.py."""
