"""Everything a run needs around the algorithm: config, composition, journal, provenance, budget."""
