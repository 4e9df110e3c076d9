"""The configuration: its types, how it is composed and checked, and the folder in which a run lives."""
