"""Templates of three kinds (ours, Copier's, Cookiecutter's): found, allowed, rendered in a process with limits."""
