"""What Durian is made of: `make sbom` writes it down, `make audit` asks whether any of it is bad."""
