"""URIs of models on the MLflow server; read without importing MLflow, which takes seconds."""

RUNS, MODELS = "runs:/", "models:/"


def is_model_uri(source: str) -> bool:
    """Return whether `source` names a model on the server, not a file."""
    return source.startswith((RUNS, MODELS))
