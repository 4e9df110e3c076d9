"""From disk to `Sample`: the data sets, what they share, and `python -m adfm.data` to check one."""
