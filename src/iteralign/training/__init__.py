"""Supervised fine-tuning behind the Trainer protocol. Nothing heavy is imported here."""
