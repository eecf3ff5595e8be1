"""What is answered where there is no answer: JSON, in one line for people."""

from __future__ import annotations

from starlette.responses import JSONResponse


def error_response(status: int, kind: str, message: str) -> JSONResponse:
    """Return an error as all of them are told: its kind, and a line that says what to do."""
    return JSONResponse({"error": {"kind": kind, "message": message}}, status)
