"""How generated projects go."""
