"""What is learnt from: teachers, cloning tuples, losses (eq 2, TD, DPG), episode replay."""
