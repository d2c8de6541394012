"""MLflow runs, registered models and provenance; the only package that imports MLflow."""
