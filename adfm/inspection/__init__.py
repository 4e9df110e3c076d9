"""One image or a folder of them, inspected: what a shop floor runs."""
