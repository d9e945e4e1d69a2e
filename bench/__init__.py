"""What dbtpod costs and saves, measured side by side with the bare thing: `make bench`."""
