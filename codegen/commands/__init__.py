"""The sub-commands of code generation."""
