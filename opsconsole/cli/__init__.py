"""The headless half: words and JSON in, JSON and an exit status out."""
