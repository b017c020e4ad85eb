"""Everything of the API and the pages that is about data, trainings, models, rollouts and gateways, put into an app."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI

from cloud_hub.api.context import HubContext
from cloud_hub.api.pages import data as data_pages
from cloud_hub.api.pages import datasets as dataset_pages
from cloud_hub.api.pages import gateways as gateway_pages
from cloud_hub.api.pages import models as model_pages
from cloud_hub.api.pages import rollouts as rollout_pages
from cloud_hub.api.pages import training as training_pages
from cloud_hub.api.receiving import FORM_BYTES
from cloud_hub.api.routes import commands, datasets, gateways, jobs, labels, models, uploads, wants


def include(app: FastAPI, prefix: str) -> None:
    """Add the routes of the API below `prefix`, and the pages."""
    for routes in (commands, datasets, gateways, jobs, labels, models, uploads, wants):
        app.include_router(routes.router, prefix=prefix)
    # Trainings before models: /models/training is not a digest.
    for page in (training_pages, model_pages, data_pages, dataset_pages, rollout_pages, gateway_pages):
        app.include_router(page.router)


def larger_bodies(context: HubContext, prefix: str) -> Mapping[str, int]:
    """Paths that take more than other requests may bring, with how much."""
    if context.workshop is None:
        return {}
    most = context.workshop.places.upload_max
    return {f"{prefix}/uploads": most, "/data/uploads": most + FORM_BYTES}
