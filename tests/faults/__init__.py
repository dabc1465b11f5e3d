"""What real archives, disks and networks do, made for real: see each module for its cases."""
