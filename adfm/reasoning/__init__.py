"""How to ask about a sample and how to read what comes back: templates, readings and frames."""
