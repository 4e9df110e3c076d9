"""Train, evaluate and use reasoning vision-language models for industrial anomaly detection."""
