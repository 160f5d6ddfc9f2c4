"""How Durian makes its own data and backbones: simulators, and later the pretraining itself."""
