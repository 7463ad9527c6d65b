"""Runs inside the sandbox, beside the submission; copied there as text, imported nowhere else."""
