"""Templates and agents' files become commits: path rules, limits, rendering, and the git repository."""
