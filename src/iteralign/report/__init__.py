"""What a run found, for people: summary and principle ledger."""
