"""What Inspect finds by name: imported through the `inspect_ai` entry point."""
