"""The models behind `protocols.Model`: in process, remote, scripted."""
