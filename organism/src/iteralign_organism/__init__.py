"""How organisms are made: corpus, training, planting of gaps, and the discovery benchmark over them."""
