"""What a cycle knows: readings and forecasts dated, judged, replaced where they are missing, and frozen."""
