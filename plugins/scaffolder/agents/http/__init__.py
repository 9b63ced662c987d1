"""HTTP to agents: one transport for all protocols, and who we are to them."""
