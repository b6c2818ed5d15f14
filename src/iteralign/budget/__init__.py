"""What a run may cost and does cost: limits, spending, prices, estimate."""
