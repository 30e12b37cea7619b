"""The history of the schema: one migration a module, numbered in order; none is ever changed once released."""
