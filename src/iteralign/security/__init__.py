"""What guards a user: reading files of others, and keeping keys out of artifacts and messages."""
