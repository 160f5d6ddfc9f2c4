"""Transfer methods, backbone export and evaluation: reads packs, writes artefacts."""
