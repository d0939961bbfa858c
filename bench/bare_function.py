"""The least that a FastAPI function on Lambda can be: what a cold start is measured beside."""

from __future__ import annotations

from fastapi import FastAPI
from mangum import Mangum

app = FastAPI()


@app.get("/health")
async def health() -> dict[str, str]:
    """Answer."""
    return {"status": "healthy"}


handler = Mangum(app, lifespan="off")
