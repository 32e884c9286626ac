"""What the deploy scripts do, once their environment is set up: layers in order, on a target."""
