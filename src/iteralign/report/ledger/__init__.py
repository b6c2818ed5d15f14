"""The principle ledger of a run: where each principle came from, what it did, and what it did beside that."""
