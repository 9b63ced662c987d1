"""Templates of Copier and Cookiecutter, rendered by their own libraries in a process with limits."""
