"""Templates of our own kind: a directory with a ``template.yaml``, rendered by a process with limits."""
