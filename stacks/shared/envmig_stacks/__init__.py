"""What the three Pulumi programs share: settings, naming, the provider, the contract between layers."""
