"""Where the numbers and pictures of a run go: lines of JSON, sample files, W&B, the terminal and one HTML page."""
