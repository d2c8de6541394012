"""Image files to answers: predictor, ensemble, bundle, export."""
