"""What the service answers, as OpenAPI describes it. Columns and numbers are those of `python -m mammo predict`."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mammo.inference.about import NOTICE


class _Message(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


class FilmAnswer(_Message):
    """The reading of one film, or of one box in it."""

    box: str | None = Field(None, description="x0,y0,x1,y1 in px of the film", examples=["410,980,690,1290"])
    prob: float = Field(
        description="the model's own probability of malignancy; of a model of two views that of all films of the "
        "request together, by their mean log-odds",
        examples=[0.71],
    )
    prob_one_view: float | None = Field(None, description="of a model of two views: the probability of this film alone")
    views: int | None = Field(None, description="of a model of two views: how many films went into `prob`")
    calibrated: float | None = Field(None, description="the calibrated probability; null where nothing calibrates it")
    threshold: float | None = Field(None, description="malignant from this `prob` on, chosen on validation rows")
    call: str | None = Field(None, description="benign or malignant at the threshold", examples=["malignant"])
    set: str | None = Field(None, description="the one class that stands at `confidence`, else refer")
    answer: str | None = Field(None, description="the class on which call and set agree, else refer")
    confidence: float | None = Field(None, description="of the prediction set", examples=[0.9])
    doubt: str | None = Field(None, description="why the image can be no mammogram")


class ModelVersion(_Message):
    """Which model answered."""

    name: str = Field(examples=["light_cnn"])
    version: str | None = Field(None, description="content hash of its training's record: the tag `content` in MLflow")
    model_sha256: str = Field(description="of the model's file")


class Prediction(_Message):
    """The answer to a request."""

    request_id: str
    films: list[FilmAnswer] = Field(description="one per film, in the order of the request")
    mean_prob: float | None = Field(
        None,
        description="of several films: the mean of their `prob`; null for one film. A model of two views (two_views_*) "
        "has the mean of the comparison table, that of log-odds, in `prob` itself",
    )
    model: ModelVersion
    seconds: float = Field(description="from the whole body to the answer")
    notice: str = NOTICE


class ModelDescription(_Message):
    """What is known of the model that is served."""

    model: ModelVersion
    unit: str = Field(description="lesion: each film needs a box; image: whole films")
    two_views: bool = Field(
        description="the films of a request are views of one lesion, or breast, and answered as one"
    )
    image_shape: list[int] = Field(description="(h, w, 1) of what the model takes")
    operating_point: dict[str, Any] | None = Field(None, description="rule, value and threshold")
    calibration: dict[str, float] | None = Field(None, description="slope and shift on the log-odds")
    confidences: list[float] = Field(description="of the prediction sets")
    data: str | None = Field(None, description="fingerprint of the pixels that it was trained on")
    packages: dict[str, str]
    licence: str
    notice: str = NOTICE


class Refusal(BaseModel):
    """Why there is no answer."""

    detail: str
