"""The version as a constant: asking the package metadata costs more than the rest of `--version`."""

VERSION = "0.1.0"
