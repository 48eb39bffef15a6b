"""Compare: show a person what was learned."""
