"""The operation of the API that describes all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from tcpbalance.control.api_request import ApiAnswer, ApiRequest
from tcpbalance.control.openapi import description
from tcpbalance.control.routes import ApiRoute


@frozen
class DescriptionHandler:
    """Serves the description.

    :param about: see ``Handlers``.
    """

    _about: Mapping[str, Any]

    def routes(self) -> list[ApiRoute]:
        """Give the operation."""
        return [ApiRoute("GET", "/api/v1/openapi.json", self._describe, open=True)]

    def _describe(self, request: ApiRequest) -> ApiAnswer:
        return ApiAnswer.of(description(self._about["version"]))
