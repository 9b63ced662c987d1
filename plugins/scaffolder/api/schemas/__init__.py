"""What the API shows and accepts, with an example of each; one module for each kind of resource."""
