"""The models behind `lab.Model`: in process, remote, scripted."""
