"""Faults of real archives, disks and networks, reproduced: each module lists its cases."""
