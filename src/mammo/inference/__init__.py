"""Image files to predictions of a finished model: predictor, ensemble, bundle, export."""
